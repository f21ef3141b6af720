"""The marketplace of an index: a static site, or pages that are served."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.operations.extras import require_extra
from xpm.operations.options import DEFAULTS, Options
from xpm.progress import Progress
from xpm.site.build import STATE, Built, build_site
from xpm.site.pages import Site
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot
from xpm_index.layout import ENTRIES
from xpm_index.urls import check_no_credentials, without_credentials
from xpm_index.verified import TufFiles, find_root, newest_fingerprint

_EXTRA = "market"


def build(
    environment: Environment,
    index: str,
    out: Path,
    *,
    url: str = "",
    clone_url: str = "",
    fingerprint: str = "",
    options: Options = DEFAULTS,
) -> Built:
    """Write the static site of an index into ``out``, anew where something changed.

    Args:
        index: the name of an index of the environment, or the path or URL of a repository.
        url: where the site will be; without it there is no sitemap.
        clone_url: where others clone the index from; by default what ``public_url`` knows.
        fingerprint: of the root to trust; of a path or URL by default the newest that it has.
    Raises:
        MissingExtraError: the extra is not installed. NotFoundError: there is no such index. UsageError:
            ``out`` is something else.
        TrustError: the index's metadata does not verify.
    """
    require_extra(("markdown_it",), what="xpm market", extra=_EXTRA)
    if url and not url.startswith(("https://", "http://")):
        raise UsageError(f"--url {url[:80]} is no web address", hint="write e.g. https://experts.example.org/")
    clone_url = clone_url or public_url(environment, index)
    if clone_url:
        check_no_credentials(clone_url, what="the URL of the index")
    site = Site(url=f"{url.rstrip('/')}/" if url else "", clone_url=clone_url)
    ahead = not (out / STATE).is_file()
    with snapshot_of(environment, index, fingerprint=fingerprint, ahead=ahead, options=options) as snapshot:
        return build_site(snapshot, out, site)


def public_url(environment: Environment, index: str) -> str:
    """Where others clone an index from, without credentials; "" if it is on this machine, or comes with xpm."""
    known = None if Path(index).is_dir() else environment.project().indexes.get(index)
    url = known.url if known else index
    return without_credentials(url) if url.startswith(("https://", "http://", "ssh://")) else ""


@contextmanager
def snapshot_of(
    environment: Environment, index: str, *, fingerprint: str = "", ahead: bool = False, options: Options = DEFAULTS
) -> Iterator[IndexSnapshot]:
    """The present state of an index, verified from the root with this fingerprint; of a path or
    URL the newest if it is "".

    Metadata that has expired is accepted: what it says is shown, and when it expired.

    Args:
        ahead: read all entries at once, since all will be asked for.
    """
    if Path(index).is_dir():
        with BareRepo.open(Path(index)) as repo:
            yield read_snapshot(repo, fingerprint=fingerprint, ahead=ahead)
    elif "://" in index:
        with _fetched(environment, index, options.progress) as repo:
            yield read_snapshot(repo, fingerprint=fingerprint, ahead=ahead)
    else:
        with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
            indexes.require_whole(index)
            yield indexes.snapshot(index)


def read_snapshot(repo: BareRepo, *, fingerprint: str = "", ahead: bool = False) -> IndexSnapshot:
    """An index at its head; raises IndexFormatError if the repository is none."""
    head = repo.head()
    if head is None:
        raise NotFoundError(f"{repo.path} has no commit", hint="make an index with `xpm index init`")
    read = repo.reader(head, ahead=repo.list_tree(head, ENTRIES) if ahead else ())
    root = find_root(read, fingerprint or newest_fingerprint(read))
    return IndexSnapshot(repo, head, TufFiles(read, root=root, allow_stale=True))


@contextmanager
def _fetched(environment: Environment, url: str, progress: Progress) -> Iterator[BareRepo]:
    environment.home.make()
    check_no_credentials(url, what="the URL of the index")
    with (
        tempfile.TemporaryDirectory(dir=environment.home.root, prefix="market-") as folder,
        BareRepo.init(Path(folder) / "r.git") as repo,
    ):
        repo.set_head(repo.fetch(url, progress=lambda text: progress.note(text.strip())))
        yield repo
