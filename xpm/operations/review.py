"""Reviews of published versions: written and handed in, accepted or taken down by maintainers, read."""

from collections.abc import Sequence
from dataclasses import dataclass

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.operations.clock import now
from xpm.operations.inspect import versions_of
from xpm.operations.open_index import Opened, opened
from xpm.operations.options import DEFAULTS, Options
from xpm.operations.publish import keyring
from xpm.progress import Progress, Silent
from xpm_index.entries import parse_entries
from xpm_index.errors import KeyFileError, TrustError
from xpm_index.index import parse_reviews
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.layout import REVIEWS, entry_path
from xpm_index.names import spellings
from xpm_index.reviews import Rating, Review, ReviewFile, rating_of, sign_review
from xpm_index.tuf_keys import Keyring
from xpm_index.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """``branch`` is where the review was proposed, None if it is in force."""

    name: str
    review: Review
    key_id: str
    branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """What is said of a package: ``files`` by key, ``rating`` None if nothing is."""

    name: str
    index: str
    files: tuple[ReviewFile, ...]
    rating: Rating | None


def review(
    home: Home,
    index: str,
    name: str,
    version: Version,
    *,
    stars: int,
    text: str,
    key: SigningKey,
    used_with: Sequence[str] = (),
    keys: Keyring | None = None,
    progress: Progress | None = None,
    when: str | None = None,
) -> Reviewed:
    """Sign a review and put it in force if the index's online key is at hand; else propose it on a branch of its own.

    Raises:
        NotFoundError: the index has no such version. TrustError: the key is the publisher's own, or a review of the
            version by it was taken down. IndexFormatError: stars or text are out of bounds.
    """
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        name = _require_version(target, name, version)
        _require_stranger(target, name, key.public)
        written = Review(version=version, stars=stars, text=text, written_at=when or now(), used_with=tuple(used_with))
        signed = sign_review(written, name=name, key=key)
        file = target.writer.reviews(name, key.public).with_review(signed)
        branch = None if target.writer.can_add_entries() else f"review/{name}-{version}-{key.key_id}"
        if branch is None:
            target.writer.put_reviews(file)
        else:
            target.propose_reviews(file, branch)
        return Reviewed(name=name, review=signed, key_id=key.key_id, branch=branch)


def take_down(
    home: Home,
    index: str,
    name: str,
    version: Version,
    key_id: str,
    *,
    reason: str,
    keys: Keyring | None = None,
    progress: Progress | None = None,
    when: str | None = None,
) -> None:
    """Put a reason in the place of a review; needs the online key. Raises TrustError if there is no such review."""
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        if not target.writer.can_add_entries():
            raise KeyFileError("the index's online key is not at hand", hint="name its file with --key")
        name = _require_version(target, name, version)
        path = f"{REVIEWS}/{name}/{key_id}.json"
        file = parse_reviews(target.writer.read(path), path)
        if file is None:
            raise NotFoundError(f"there is no review of {name} by the key {key_id[:40]}")
        target.writer.put_reviews(file.without(version, reason=reason, at=when or now()))


def reviews_of(environment: Environment, name: str, options: Options = DEFAULTS) -> Reviews:
    """What the indexes say of a package; raises NotFoundError."""
    index, entries = versions_of(environment, name, options)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        files = indexes.snapshot(index).reviews(entries[-1].name)
    return Reviews(name=entries[-1].name, index=index, files=files, rating=rating_of(files))


def accept_reviews(target: Opened, commit: str, *, dry_run: bool) -> list[Reviewed]:
    """Put the reviews in force that a branch adds to what is there, each verified; [] if it adds none."""
    repo, head = target.writer.repo, target.writer.head
    accepted = []
    for path in repo.changed_paths(head, commit, REVIEWS):
        proposed = parse_reviews(repo.read_blob(commit, path), path)
        for each in proposed.reviews if proposed else ():
            assert proposed is not None
            file = target.writer.reviews(proposed.name, proposed.key)
            if each in file.reviews:
                continue
            _require_version(target, proposed.name, each.version)
            _require_stranger(target, proposed.name, proposed.key)
            after = file.with_review(each)
            if not dry_run:
                target.writer.put_reviews(after)
            accepted.append(Reviewed(name=proposed.name, review=each, key_id=proposed.key.key_id))
    return accepted


def _require_version(target: Opened, name: str, version: Version) -> str:
    """The index's spelling of a name that has this version."""
    for spelled in spellings(name):
        data = target.writer.read(entry_path(spelled))
        if data is not None:
            if any(each.version == version for each in parse_entries(data, name=spelled)):
                return spelled
            raise NotFoundError(f"the index has no {spelled} {version}")
    raise NotFoundError(f"the index has no {name}")


def _require_stranger(target: Opened, name: str, key: PublicKey) -> None:
    data = target.writer.read(entry_path(name)) or b""
    publisher = target.writer.publisher(parse_entries(data, name=name)[0].publisher)
    if any(each.public == key for each in publisher.keys):
        raise TrustError(
            f"the key {key.key_id} is of {publisher.namespace}, who publishes {name}", hint="nobody reviews their own"
        )


def used_with(environment: Environment) -> list[str]:
    """``name version`` of what is installed here, for a review that tells it; raises UsageError if nothing is."""
    lock = environment.lockfile()
    if lock is None:
        raise UsageError("nothing is locked here", hint="leave --tell-setup out")
    return [f"{each.name} {each.version}" for each in lock.packages][:20]
