"""Archives that no honest writer writes: raw tars, packed with a canonical frame so that only the tar is at fault."""

import tarfile
from collections.abc import Sequence

import zstandard

from xpm_index.archive import MANIFEST
from xpm_index.packed_stream import WINDOW_LOG

BLOCK = 512
END = bytes(2 * BLOCK)


def member(name: str, content: bytes = b"", **attributes: object) -> bytes:
    """One member; ``attributes`` set fields of its header (type, mode, mtime, linkname, uname …)."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in attributes.items():
        setattr(info, key, value)
    return info.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict") + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def tar_of(*members: bytes, end: bytes = END) -> bytes:
    """A tar with a manifest and then ``members``."""
    return b"".join([member(MANIFEST, b"{}\n"), *members, end])


def pack(tar: bytes, *, level: int = 3) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(tar), window_log=WINDOW_LOG, write_checksum=True, write_content_size=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(tar)


def with_checksum(header: bytes) -> bytes:
    """A header block with its checksum set right again."""
    blank = header[:148] + b" " * 8 + header[156:BLOCK]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


def reseal(block: bytes, at: int, field: bytes) -> bytes:
    """``block`` with ``field`` written into its header at ``at`` and the checksum set right again."""
    return with_checksum(block[:at] + field + block[at + len(field) :])


def names(prefix: str, count: int) -> Sequence[str]:
    return [f"{prefix}{number:04}" for number in range(count)]
