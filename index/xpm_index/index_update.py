"""Whether a new state of an index may follow the one that was accepted before."""

from collections.abc import Sequence
from datetime import datetime

from xpm_index.entries import require_append_only
from xpm_index.errors import TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot, read_info
from xpm_index.layout import ENTRIES, METADATA, PUBLISHERS, REVIEWS, entry_path, metadata_path
from xpm_index.metadata import BINS, Read, epoch_of, roots, targets_in
from xpm_index.verified import TufFiles, find_root, require_same_roots

_MAX_AHEAD = 5000


def check_update(
    repo: BareRepo, old: str, new: str, *, fingerprint: str, now: datetime | None = None, allow_stale: bool = False
) -> None:
    """Check that the index at commit ``new`` continues the one accepted before, at ``old``.

    Both commits are in ``repo`` already; call this after fetching and before moving the branch. In this order:
    1. no root of the old state is altered, and the metadata of the new one verifies and is no older;
    2. it is the same index by its id;
    3. the new commit descends from the old one, unless a newer root raised the epoch;
    4. the files that changed are vouched for and well formed, entries were only added to, and by keys that might.

    Raises:
        TrustError: one of these does not hold. IndexFormatError: ``new`` is no index.
    """
    changed = {top: list(repo.changed_paths(old, new, top)) for top in (METADATA, ENTRIES, PUBLISHERS, REVIEWS)}
    before, after = (
        _reader_of(repo, commit, [path for paths in changed.values() for path in paths]) for commit in (old, new)
    )
    require_same_roots(roots(before), roots(after))  # 1
    known = TufFiles(before, root=find_root(before, fingerprint), allow_stale=True)
    trusted = before(metadata_path("root", known.root.version)) or b""
    files = TufFiles(after, root=trusted, earlier=before, now=now, allow_stale=allow_stale)
    ids = read_info(before).id, read_info(files.read).id  # 2
    hint = "ask the index's maintainer; if it is meant so, remove the index and add it again"
    if ids[0] != ids[1]:
        raise TrustError("the index was replaced by another", context=f"{ids[0]} became {ids[1]}", hint=hint)
    newer_epoch = epoch_of(files.root) > epoch_of(known.root)  # 3
    if not newer_epoch and not repo.is_ancestor(old, new):
        reason = f"{new[:12]} does not descend from {old[:12]}"
        raise TrustError("the index was rolled back or rewritten", context=reason, hint=hint)
    fresh = TufFiles(after, root=trusted, now=now, allow_stale=allow_stale)  # 4: as it will be read from now on
    _require_bins(before, after, changed[METADATA], fresh)
    snapshot = IndexSnapshot(repo, new, fresh)
    for path in changed[ENTRIES]:
        require_append_only(before(path) or b"", fresh.read(path), path=path)
        snapshot.entries(path.rsplit("/", 1)[1].removesuffix(".jsonl"))
    for path in changed[PUBLISHERS]:
        snapshot.publisher(path.rsplit("/", 1)[1].removesuffix(".json"))
    for path in changed[REVIEWS]:
        snapshot.review_file(path)


def _reader_of(repo: BareRepo, commit: str, paths: Sequence[str]) -> Read:
    """Reads a commit, with ``paths`` read ahead together if they are not too many to hold."""
    return repo.reader(commit, ahead=paths if len(paths) <= _MAX_AHEAD else ())


def _require_bins(before: Read, after: Read, changed: Sequence[str], files: TufFiles) -> None:
    """Raise TrustError unless what delegates to entries verifies, and still vouches for every
    name that it vouched for."""
    for path in changed:
        if path == metadata_path(ENTRIES):
            files.vouches_for(entry_path("any"))
        elif path.startswith(f"{METADATA}/{BINS}-"):
            was, now = targets_in(before(path), path), targets_in(after(path), path)
            if any(not files.vouches_for(target) for target in sorted(now)[:1]) or was - now:
                raise TrustError(
                    f"the index no longer vouches for {', '.join(sorted(was - now)[:3])}",
                    context=path,
                    hint="ask the index's maintainer; if it is meant so, remove the index and add it again",
                )
