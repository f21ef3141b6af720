"""What other programs leave in the place of a file: named, so that an error can say what happened and the way out.

A merge that stopped half-way leaves both sides between marks, Git LFS without its smudge filter leaves a
pointer, editors and shells on Windows a byte order mark or UTF-16. None of these is read; only the error for
them is better than "not valid".
"""

from dataclasses import dataclass
from pathlib import Path

_HEAD_BYTES = 1 << 10
_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Foreign:
    """``what`` completes "<file> …"; ``way_out`` is a hint."""

    what: str
    way_out: str


_MERGE = Foreign(
    "holds the marks of a merge that is not finished",
    "take one side (`git checkout --ours FILE` or `--theirs`), or edit it; what xpm wrote it can write anew (`xpm "
    "lock`)",
)
_LFS = Foreign(
    "is a pointer of Git LFS, not the file itself", "fetch the file: `git lfs install` once, then `git lfs pull`"
)
_BOM = Foreign(
    "begins with a byte order mark", "save it as UTF-8 without one (in editors often: UTF-8, not UTF-8 with BOM)"
)
_UTF16 = Foreign("is UTF-16", "save it as UTF-8; on Windows `Out-File -Encoding utf8NoBOM` writes that")


def named(data: bytes) -> Foreign | None:
    """What a file that should be text or an archive is instead, as far as its bytes tell; None if they don't."""
    if data.startswith(_POINTER):
        return _LFS
    if data.startswith(b"\xef\xbb\xbf"):
        return _BOM
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _UTF16
    lines = data.splitlines()
    starts = [any(line.startswith(mark) for line in lines) for mark in (b"<<<<<<< ", b"=======", b">>>>>>> ")]
    return _MERGE if all(starts) else None


def named_in(path: Path) -> Foreign | None:
    """``named`` of the beginning of a file that could not be read as what it should be."""
    try:
        with path.open("rb") as file:
            return named(file.read(_HEAD_BYTES))
    except OSError:
        return None
