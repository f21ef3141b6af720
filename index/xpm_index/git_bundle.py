"""The header of a Git bundle (gitformat-bundle(5)): the references that it brings; the pack follows."""

from typing import BinaryIO

from dulwich.objects import ObjectID
from dulwich.refs import Ref

from xpm_index.errors import GitError

_FORMATS = (b"# v2 git bundle\n", b"# v3 git bundle\n")
_MAX_LINE_BYTES = 4096
_MAX_LINES = 10_000


def read_references(file: BinaryIO) -> dict[Ref, ObjectID]:
    """What a bundle's references point to; ``file`` is at its pack then.

    Raises:
        GitError: it is no bundle, or one that needs commits which it does not hold.
    """
    if file.readline(_MAX_LINE_BYTES) not in _FORMATS:
        raise GitError("it does not begin as a Git bundle")
    found: dict[Ref, ObjectID] = {}
    for _ in range(_MAX_LINES):
        line = file.readline(_MAX_LINE_BYTES)
        if line == b"\n":
            return found
        if line.startswith((b"-", b"@filter")):
            raise GitError("the bundle holds a part of a history only")
        if line.startswith(b"@"):  # another capability says nothing of references
            continue
        if not line.endswith(b"\n"):
            break
        commit, _, name = line.rstrip(b"\n").partition(b" ")
        found[Ref(name)] = ObjectID(commit)
    raise GitError("the bundle's header does not end")
