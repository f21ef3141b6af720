"""What a pack will inflate to, against packs that Git itself makes, and against ones that lie."""

import random
import subprocess
import zlib
from pathlib import Path

import pytest

from xpm_index.errors import GitError
from xpm_index.pack_gauge import PackGauge

TEXT = random.Random(3).randbytes(20_000)


def pack_of(folder: Path, files: dict[str, bytes], *options: str) -> bytes:
    """A pack of the contents of ``files``, with deltas where Git finds them."""
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    ids = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        done = subprocess.run(
            ["git", "hash-object", "-w", name], cwd=folder, check=True, capture_output=True, text=True
        )
        ids.append(f"{done.stdout.strip()} {name}")
    command = ["git", "pack-objects", "--stdout", "-q", *options]
    return subprocess.run(command, cwd=folder, input="\n".join(ids).encode(), check=True, capture_output=True).stdout


def gauge(pack: bytes, step: int = 1000, *, one: int = 1 << 30, together: int = 1 << 30) -> int:
    meter = PackGauge(max_object_bytes=one, max_bytes=together)
    for start in range(0, len(pack), step):
        meter.feed(pack[start : start + step])
    return meter.num_bytes


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("options", [(), ("--delta-base-offset",)])
def test_every_object_counts_and_what_deltas_make_too(tmp_path, step, options):
    files = {"a": TEXT, "b": TEXT[:-10] + b"0123456789", "c": b"", "d": b"z" * 300_000}
    pack = pack_of(tmp_path, files, *options)
    assert len(pack) < len(TEXT) * 1.5  # one of the two is a delta
    total = sum(map(len, files.values()))
    assert total <= gauge(pack, step) <= total + 100
    assert gauge(pack, step, one=300_000, together=total + 100)
    with pytest.raises(GitError, match="the remote sends"):
        gauge(pack, step, one=299_999)
    with pytest.raises(GitError, match="the remote sends"):
        gauge(pack, step, together=total - 1)


def header(kind: int, size: int) -> bytes:
    first, rest = kind << 4 | size & 15, size >> 4
    data = bytearray()
    while rest:
        data.append(first | 128)
        first, rest = rest & 127, rest >> 7
    return bytes([*data, first])


def pack(*objects: bytes) -> bytes:
    return b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big") + b"".join(objects) + bytes(20)


def test_an_object_that_is_more_than_it_states():
    with pytest.raises(GitError, match="more than it states"):
        gauge(pack(header(3, 10) + zlib.compress(b"x" * 1_000_000)))


def test_a_large_size_is_refused_before_anything_is_inflated():
    meter = PackGauge(max_object_bytes=1000, max_bytes=1000)
    with pytest.raises(GitError, match="the remote sends"):
        meter.feed(pack(header(3, 1 << 40))[:-20])


def test_a_small_delta_that_makes_much():
    delta = b"\x0a" + bytes([0x80, 0x80, 0x80, 0x80, 0x04]) + b"\x90\x01"  # 10 bytes in, 1 GiB out
    with pytest.raises(GitError, match="the remote sends"):
        gauge(pack(header(7, len(delta)) + bytes(20) + zlib.compress(delta)), one=1 << 29)


@pytest.mark.parametrize(
    "data",
    [
        b"<html>not a pack</html>",
        pack(header(3, 5) + b"not zlib"),
        pack(b"\xff" * 20),
        pack(header(7, 1) + bytes(20) + zlib.compress(b"\xff")),
    ],
)
def test_what_is_no_pack(data):
    with pytest.raises(GitError):
        gauge(data)
