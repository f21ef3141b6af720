"""The sparse form of an index, beside its pages: its files at their paths, for clients that fetch what
they need and have no Git.

What belongs to it is what such a client may ask for, and nothing else that lies in a repository.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from xpm_index.errors import XpmError
from xpm_index.index import IndexSnapshot
from xpm_index.layout import ARCHIVES, ENTRIES, INDEX_JSON, METADATA, PUBLISHERS, REVIEWS
from xpm_index.sparse_server import review_list, review_list_path
from xpm_index.urls import check_path

FOLDER = "sparse"
_SUFFIXES = {
    ARCHIVES: (".expert", ".base"),
    ENTRIES: (".jsonl",),
    METADATA: (".json",),
    PUBLISHERS: (".json",),
    REVIEWS: (".json",),
}


def has_sparse_form(snapshot: IndexSnapshot) -> bool:
    """Whether an index has metadata, without which nobody could believe what comes from a web server."""
    return snapshot.files.snapshot_version > 0


def sparse_files(snapshot: IndexSnapshot) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """(path below the site, what identifies the content, the content) of every file."""
    if not has_sparse_form(snapshot):
        return
    reviews: dict[str, list[str]] = defaultdict(list)
    for path, id in snapshot.repo.regular_files(snapshot.commit):
        if _is_part(path):
            yield f"{FOLDER}/{path}", id, partial(snapshot.repo.read_object, id)
            if path.startswith(f"{REVIEWS}/"):
                reviews[path.rpartition("/")[0]].append(path)
    for folder, paths in reviews.items():
        listed = review_list(paths)
        yield f"{FOLDER}/{review_list_path(folder)}", listed.decode(), partial(bytes, listed)


def sparse_file(snapshot: IndexSnapshot, path: str) -> bytes | None:
    """The file at a path of the sparse form, without its first folder; None if there is none."""
    if not has_sparse_form(snapshot) or not _is_part(path):
        return None
    data = snapshot.repo.read_blob(snapshot.commit, path)
    folder = path.removesuffix(".json")
    if data is None and path.startswith(f"{REVIEWS}/") and path == review_list_path(folder):
        paths = list(snapshot.repo.list_tree(snapshot.commit, folder))
        return review_list(paths) if paths else None
    return data


def _is_part(path: str) -> bool:
    try:
        return path == INDEX_JSON or check_path(path).endswith(_SUFFIXES.get(path.partition("/")[0], ()))
    except XpmError:
        return False
