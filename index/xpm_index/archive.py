"""The one container: a tar in one zstd frame, written deterministically and read strictly.

Owns the byte form of ``.expert`` and ``.base`` files (docs/reference/formats/archive.md) and knows nothing of
signatures. What the reader accepts is what the writer writes: one frame with content size and checksum and nothing
after it, members in order, every header block byte for byte canonical. The tar.gz of older packages is read too, with
the same rules for names, kinds and sizes of members.
"""

import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import zstandard

from xpm_index.errors import ArchiveError, PackagingError
from xpm_index.foreign import named_in
from xpm_index.manifest import Manifest
from xpm_index.packed_stream import WINDOW_LOG, Limits, PackedStream

MANIFEST = "manifest.json"
EXPERT_LIMITS = Limits()
BASE_LIMITS = Limits(max_bytes=64 << 30)
_BLOCK = 512
_COPY_BYTES = 1 << 20
_LEVEL = 12
_MAX_EXTRA_BYTES = 1 << 16
_MAX_EXTRA_HEAD = 64  # of one extra: more than its length and any harmless key
_HARMLESS_EXTRAS = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})
_GIT = frozenset({".git", "git~1"})  # the second is what Windows may call the first
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


def limits_for(path: Path) -> Limits:
    return BASE_LIMITS if path.suffix == ".base" else EXPERT_LIMITS


def write_archive(out: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write ``files`` (member name → content) to ``out``; the same content always gives the same bytes.

    Raises:
        PackagingError: there is no manifest, or a name or size is not allowed in an archive.
    """
    if MANIFEST not in files:
        raise PackagingError(f"{out.name} would have no {MANIFEST}")
    names = ordered(files)
    sizes = {name: _size(files[name]) for name in names}
    try:
        check_names(names)
        headers = {name: _header(name, sizes[name]) for name in names}
    except ArchiveError as error:
        raise PackagingError(error.message, context=error.context) from error
    total = sum(_BLOCK + _padded(size) for size in sizes.values()) + 2 * _BLOCK
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, source_size=total, window_log=WINDOW_LOG, write_checksum=True, write_content_size=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with out.open("wb") as file:
        packed = compressor.stream_writer(file, size=total, closefd=False)
        for name in names:
            packed.write(headers[name])
            with _open(files[name]) as source:
                while chunk := source.read(_COPY_BYTES):
                    packed.write(chunk)
            packed.write(bytes(_padded(sizes[name]) - sizes[name]))
        packed.write(bytes(2 * _BLOCK))
        packed.flush(zstandard.FLUSH_FRAME)  # not where it breaks off: that less came than was announced would hide why


def ordered(names: Iterable[str]) -> list[str]:
    """The order of members: the manifest, then the rest by name."""
    return sorted(names, key=lambda name: (name != MANIFEST, name))


def read_archive(
    path: Path, limits: Limits | None = None, *, seen: Callable[[bytes], object] = len
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield (member name, its content in chunks) in order. Each content must be used up before the next is asked for.

    Only when the iteration has ended without an error is the archive known to be whole.

    Args:
        seen: given the bytes of the file as they are read, so that they can be hashed in the same pass.
    Raises:
        ArchiveError: see docs/reference/formats/archive.md for every rule.
    """
    limits = limits or limits_for(path)
    try:
        with path.open("rb") as file:
            stream = PackedStream(file, limits, seen=seen)
            yield from _older_members(stream, limits) if stream.is_gzip else _members(stream, limits)
    except (ArchiveError, zstandard.ZstdError, zlib.error) as error:
        if (found := named_in(path)) is not None:
            raise ArchiveError(f"{path.name} {found.what}", context=str(error)[:200], hint=found.way_out) from error
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"{path.name} is not a readable archive", context=str(error)[:200]) from error
    except OSError as error:
        raise ArchiveError(f"{path.name} could not be read", context=str(error)[:200]) from error


def extract_archive(path: Path, into: Path, limits: Limits | None = None) -> None:
    """Unpack into the existing, empty folder ``into``. On an error the folder holds rubbish and must be thrown away."""
    for name, chunks in read_archive(path, limits):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, without reading what follows: for display, never for trust."""
    for name, chunks in read_archive(path):
        if name == MANIFEST:
            return Manifest.parse(b"".join(chunks))
        for _ in chunks:
            pass
    raise ArchiveError(f"{path.name} has no {MANIFEST}")


def read_files(path: Path) -> dict[str, bytes]:
    """Every member in memory; for small packages and for rewriting one."""
    return {name: b"".join(chunks) for name, chunks in read_archive(path)}


def _members(stream: PackedStream, limits: Limits) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The members of a canonical tar."""
    names: list[str] = []
    while (block := stream.read_exactly(_BLOCK)) != bytes(_BLOCK):
        member = _parse_header(block)
        _add_name(names, member.name, limits)
        if block != _header(member.name, member.size):
            raise ArchiveError(
                f"the header of {member.name[:80]!r} is not the canonical one", context="only plain files may be packed"
            )
        if ordered(names[-2:]) != names[-2:]:
            raise ArchiveError("the members are not in order")
        yield from _content(stream, member)
    if any(stream.read_exactly(_BLOCK)):
        raise ArchiveError("the archive does not end as a tar does")
    stream.finish()


def _older_members(stream: PackedStream, limits: Limits) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The members of any tar that holds plain files; folders are passed over, and so are times and owners."""
    names: list[str] = []
    num_blocks = 0
    while (block := stream.read_exactly(_BLOCK)) != bytes(_BLOCK):
        num_blocks += 1
        if num_blocks > 4 * limits.max_entries:
            raise ArchiveError(f"the archive has more than {limits.max_entries} members")
        member = _parse_header(block)
        if member.type == tarfile.XHDTYPE:
            _require_harmless(_read_extras(stream, member.size))
        elif member.type == tarfile.DIRTYPE and member.size == 0:
            continue
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            member.name = member.name.removeprefix("./")
            _add_name(names, member.name, limits)
            yield from _content(stream, member)
        else:
            raise ArchiveError(f"{member.name[:80]!r} is not a plain file")
    stream.skip_zeros()
    stream.finish()


def _parse_header(block: bytes) -> tarfile.TarInfo:
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ArchiveError("a member's header is damaged") from error
    if member.size < 0:
        raise ArchiveError("a member's size is negative")
    return member


def _add_name(names: list[str], name: str, limits: Limits) -> None:
    names.append(name)
    check_names(names)
    if len(names) > limits.max_entries:
        raise ArchiveError(f"the archive has more than {limits.max_entries} members")


def _content(stream: PackedStream, member: tarfile.TarInfo) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The one member at the stream's position; what its consumer leaves is read here."""
    left = _Countdown(stream, member.size)
    yield member.name, left.chunks()
    left.require_done()
    if any(stream.read_exactly(_padded(member.size) - member.size)):
        raise ArchiveError(f"bytes hide behind {member.name!r}")


def _read_extras(stream: PackedStream, size: int) -> bytes:
    if size > _MAX_EXTRA_BYTES:
        raise ArchiveError("an extended header is too large")
    return stream.read_exactly(_padded(size))[:size]


def _require_harmless(extras: bytes) -> None:
    """Extended headers (``<length> <key>=<value>\\n``) may carry times and owners, but no names and no sizes."""
    position = 0
    while position < len(extras):
        length, _, rest = extras[position : position + _MAX_EXTRA_HEAD].partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(extras) - position:
            raise ArchiveError("an extended header is damaged")
        key = rest.partition(b"=")[0].decode("ascii", errors="replace")
        if key not in _HARMLESS_EXTRAS:
            raise ArchiveError(f"an extended header changes the {key[:40]!r} of a member")
        position += int(length)


class _Countdown:
    """The content of one member, read once and whole."""

    def __init__(self, stream: PackedStream, size: int) -> None:
        self._stream = stream
        self._left = size

    def chunks(self) -> Iterator[bytes]:
        while self._left:
            chunk = self._stream.read(min(self._left, _COPY_BYTES))
            self._left -= len(chunk)
            yield chunk

    def require_done(self) -> None:
        for _ in self.chunks():
            pass


def check_names(names: Sequence[str]) -> None:
    """Raise ArchiveError unless all names are allowed and differ from each other on every file system."""
    for name in names:
        parts = name.split("/")
        if not name.isascii() or not name.isprintable() or len(name) > 99 or any(c in name for c in '\\:*?"<>|'):
            raise ArchiveError(f"{name[:80]!r} is not allowed as a file name")
        if any(part in ("", ".", "..") or part.endswith((".", " ")) for part in parts):
            raise ArchiveError(f"{name[:80]!r} leaves the package")
        if any(part.lower() in _GIT for part in parts):
            raise ArchiveError(
                f"{name[:80]!r} is of a Git repository", context="a package holds files of an expert alone"
            )
        if any(part.split(".")[0].lower() in _RESERVED for part in parts):
            raise ArchiveError(f"{name[:80]!r} is a reserved name")
    folded = [name.lower() for name in names]
    if len(set(folded)) != len(folded):
        raise ArchiveError(f"{names[-1][:80]!r} is there twice", context="names must differ in more than case")
    files = set(folded)
    for name in folded:
        if any(parent in files for parent in _parents(name)):
            raise ArchiveError(f"{name[:80]!r} lies inside a file")


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _header(name: str, size: int) -> bytes:
    """The canonical header block: a plain file of mode 0644 with no owner and no time."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    try:
        block = member.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")
    except ValueError as error:
        raise ArchiveError(f"{name[:80]!r} does not fit a header", context=str(error)) from error
    if len(block) != _BLOCK:
        raise ArchiveError(f"{name[:80]!r} does not fit a header")
    return block


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _open(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def archive_name(name: str, version: object, *, base: str | None = None, variant: str | None = None) -> str:
    """``expert-sql-xpm-tiny.v0.1.0.expert`` or ``xpm-tiny-fp32.v0.1.0.base``."""
    return f"{name}-{base}.v{version}.expert" if base else f"{name}-{variant}.v{version}.base"
