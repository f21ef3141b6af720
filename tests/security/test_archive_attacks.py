"""One row per attack on the archive reader: each is refused for its own reason, and nothing is written outside."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from tests.support.archives import BLOCK, END, member, names, pack, reseal, tar_of
from tests.support.packages import FILES, make_manifest, make_package, sign_files
from xpm_index.archive import MANIFEST, extract_archive, read_archive, read_files, write_archive
from xpm_index.digests import sha256_bytes
from xpm_index.errors import ArchiveError, IntegrityError, PackagingError, SignatureError
from xpm_index.integrity import verify_files, verify_signature
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.packed_stream import Limits

GOOD = tar_of(member("a"), member("b", b"content"))


def _tampered(at: int, field: bytes) -> bytes:
    """The good tar with one field of the header of ``b`` altered and its checksum set right."""
    block = GOOD.index(b"b\0\0\0")
    return GOOD[:block] + reseal(GOOD[block : block + BLOCK], at, field) + GOOD[block + BLOCK :]


BAD_NAMES = {
    "parent": ("../evil", "leaves the package"),
    "parent inside": ("a/../../evil", "leaves the package"),
    "only parent": ("..", "leaves the package"),
    "absolute": ("/etc/evil", "leaves the package"),
    "dot": ("./evil", "leaves the package"),
    "empty part": ("a//evil", "leaves the package"),
    "backslash": ("..\\evil", "not allowed"),
    "drive": ("C:evil", "not allowed"),
    "stream": ("evil:stream", "not allowed"),
    "line break": ("a\nb", "not allowed"),
    "escape": ("a\x1b[31m", "not allowed"),
    "look-alike": ("mаnifest.json", "not allowed"),
    "bidirectional": ("a\u202egpj.exe", "not allowed"),
    "trailing dot": ("evil.", "leaves the package"),
    "trailing space": ("evil ", "leaves the package"),
    "git": (".git/hooks/post-checkout", "of a Git repository"),
    "git in another case": ("sub/.GIT/config", "of a Git repository"),
    "git as Windows calls it": ("GIT~1/config", "of a Git repository"),
    "device": ("nul", "reserved"),
    "device with suffix": ("sub/COM1.txt", "reserved"),
    "duplicate": (MANIFEST, "there twice"),
    "case-fold duplicate": ("Manifest.JSON", "there twice"),
    "inside a file": (f"{MANIFEST}/evil", "inside a file"),
}
BAD_TARS = {
    "symlink": (tar_of(member("evil", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "not the canonical"),
    "hard link": (tar_of(member("evil", type=tarfile.LNKTYPE, linkname=MANIFEST)), "not the canonical"),
    "character device": (tar_of(member("evil", type=tarfile.CHRTYPE, devmajor=1, devminor=3)), "not the canonical"),
    "block device": (tar_of(member("evil", type=tarfile.BLKTYPE, devmajor=8)), "not the canonical"),
    "pipe": (tar_of(member("evil", type=tarfile.FIFOTYPE)), "not the canonical"),
    "folder": (tar_of(member("evil", type=tarfile.DIRTYPE)), "not the canonical"),
    "sparse file": (tar_of(member("evil", type=tarfile.GNUTYPE_SPARSE)), "not the canonical"),
    "long name": (tar_of(member("evil", b"../evil\0", type=tarfile.GNUTYPE_LONGNAME)), "not the canonical"),
    "extended header": (tar_of(member("evil", b"16 path=../evil\n", type=tarfile.XHDTYPE)), "not the canonical"),
    "contiguous file": (tar_of(member("evil", type=tarfile.CONTTYPE)), "not the canonical"),
    "set-user-id": (tar_of(member("evil", mode=0o4755)), "not the canonical"),
    "executable": (tar_of(member("evil", mode=0o755)), "not the canonical"),
    "time": (tar_of(member("evil", mtime=1)), "not the canonical"),
    "owner": (tar_of(member("evil", uid=1)), "not the canonical"),
    "owner's name": (tar_of(member("evil", uname="root")), "not the canonical"),
    "link name of a file": (tar_of(member("evil", linkname="x")), "not the canonical"),
    "other spelling of a size": (_tampered(124, b"0000000007 "), "not the canonical"),
    "binary size": (_tampered(124, b"\x80" + bytes(10) + b"\x07"), "not the canonical"),
    "negative size": (_tampered(124, b"\xff" * 12), "negative"),
    "bytes in the header's padding": (_tampered(505, b"x"), "not the canonical"),
    "wrong header checksum": (GOOD.replace(b"ustar", b"ustaR", 1), "damaged"),
    "bytes behind a file": (tar_of(member("a", b"x")[:-1] + b"x"), "hide behind"),
    "not in order": (tar_of(member("b"), member("a")), "not in order"),
    "manifest not first": (member("a") + member(MANIFEST) + END, "not in order"),
    "one end block": (tar_of(end=bytes(BLOCK)), "truncated"),
    "no end": (tar_of(end=b""), "truncated"),
    "data after the end": (tar_of(end=END + member("evil")), "bytes follow"),
    "more zeros after the end": (tar_of(end=END + END), "bytes follow"),
    "damaged end": (tar_of(end=bytes(BLOCK) + b"x" * BLOCK), "does not end"),
    "cut inside a file": (tar_of(member("a", bytes(4 * BLOCK)))[:-1536], "truncated"),
    "not a tar": (b"x" * 2048, "damaged"),
}
PACKED = pack(GOOD)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"evil"
BAD_FILES = {
    "empty": (b"", "not a readable archive|truncated|not the canonical"),
    "not an archive": (b"PK\x03\x04" + bytes(64), "not a readable archive"),
    "truncated frame": (PACKED[:-1], "truncated"),
    "frame without its checksum": (PACKED[:-4], "truncated"),
    "frame cut inside a block": (PACKED[: len(PACKED) // 2], "truncated"),
    "trailing byte": (PACKED + b"\0", "bytes follow"),
    "trailing megabyte": (PACKED + bytes(1 << 20), "bytes follow"),
    "second frame": (PACKED + PACKED, "bytes follow"),
    "second, skippable frame": (PACKED + SKIPPABLE, "bytes follow"),
    "skippable frame in front": (SKIPPABLE + PACKED, "size of a tar|not the canonical"),
    "no checksum": (zstandard.ZstdCompressor().compress(GOOD), "not the canonical"),
    "no size": (
        zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(GOOD),
        "state the size|not the canonical",
    ),
    "size stated too small": (
        PACKED.replace((len(GOOD) - 256).to_bytes(2, "little"), b"\0\x08", 1),
        "not a readable archive",
    ),
    "window of 128 MiB": (b"\x28\xb5\x2f\xfd\x84\x88" + PACKED[5:], "not the canonical"),
}


def _bad_archive(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _refuse(tmp_path: Path, data: bytes, reason: str, limits: Limits | None = None) -> None:
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True)
    path = _bad_archive(tmp_path / "p.expert", data)
    with pytest.raises(ArchiveError, match=reason):
        extract_archive(path, into, limits)
    written = {each for each in tmp_path.rglob("*") if each.is_file()}
    assert all(each.is_relative_to(into) and not each.is_symlink() for each in written - {path})


def test_the_attacks_start_from_an_archive_that_is_accepted(tmp_path):
    assert list(read_files(_bad_archive(tmp_path / "p.expert", PACKED))) == [MANIFEST, "a", "b"]


@pytest.mark.parametrize(("name", "reason"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_names(tmp_path, name, reason):
    _refuse(tmp_path, pack(tar_of(member(name, b"evil"))), reason)


@pytest.mark.parametrize(("name", "reason"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_the_writer_refuses_the_same_names(tmp_path, name, reason):
    if name == MANIFEST:
        return
    with pytest.raises(PackagingError, match=reason):
        write_archive(tmp_path / "p.expert", {MANIFEST: b"{}", name: b"evil"})


@pytest.mark.parametrize(("tar", "reason"), BAD_TARS.values(), ids=BAD_TARS)
def test_tars(tmp_path, tar, reason):
    _refuse(tmp_path, pack(tar), reason)


@pytest.mark.parametrize(("data", "reason"), BAD_FILES.values(), ids=BAD_FILES)
def test_frames(tmp_path, data, reason):
    _refuse(tmp_path, data, reason)


def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    bomb = pack(tar_of(member("zeros", bytes(8 << 20))), level=19)
    assert len(bomb) * 200 < 8 << 20
    _refuse(tmp_path, bomb, "more than is allowed")
    assert not (tmp_path / "deep" / "into" / MANIFEST).exists()


def test_too_large(tmp_path):
    _refuse(tmp_path, pack(tar_of(member("a", bytes(4096)))), "more than is allowed", Limits(max_bytes=4096))


def test_too_many_members(tmp_path):
    few, many = (tar_of(*(member(name) for name in names("f", count))) for count in (255, 256))
    assert len(read_files(_bad_archive(tmp_path / "p.expert", pack(few)))) == 256
    _refuse(tmp_path, pack(many), "more than 256 members")


def test_a_frame_that_holds_more_than_it_states(tmp_path):
    stated = len(GOOD)
    honest = pack(GOOD + bytes(BLOCK))
    lying = honest.replace((stated + BLOCK - 256).to_bytes(2, "little"), (stated - 256).to_bytes(2, "little"), 1)
    assert lying != honest
    _refuse(tmp_path, lying, "not a readable archive")


def _older(*members: bytes, end: bytes = END, tail: bytes = b"") -> bytes:
    return gzip.compress(tar_of(*members, end=end), mtime=0) + tail


OLDER = {
    "symlink": (_older(member("evil", type=tarfile.SYMTYPE, linkname="/")), "not a plain file"),
    "hard link": (_older(member("evil", type=tarfile.LNKTYPE, linkname=MANIFEST)), "not a plain file"),
    "device": (_older(member("evil", type=tarfile.CHRTYPE)), "not a plain file"),
    "sparse file": (_older(member("evil", type=tarfile.GNUTYPE_SPARSE)), "not a plain file"),
    "long name": (_older(member("x", b"../evil\0", type=tarfile.GNUTYPE_LONGNAME)), "not a plain file"),
    "global header": (_older(member("x", b"16 path=../evil\n", type=tarfile.XGLTYPE)), "not a plain file"),
    "parent": (_older(member("../evil")), "leaves the package"),
    "parent behind a dot": (_older(member("./../evil")), "leaves the package"),
    "absolute": (_older(member("/evil")), "leaves the package"),
    "git": (_older(member("./.git/config")), "of a Git repository"),
    "many extras in an extended header": (
        _older(member("x", b"11 mtime=1\n" * 5900 + b"10 size=9\n", type=tarfile.XHDTYPE), member("a")),
        "changes the 'size'",
    ),
    "duplicate": (_older(member("./" + MANIFEST)), "there twice"),
    "path in an extended header": (
        _older(member("x", b"16 path=../evil\n", type=tarfile.XHDTYPE), member("a")),
        "changes the 'path'",
    ),
    "size in an extended header": (
        _older(member("x", b"10 size=9\n", type=tarfile.XHDTYPE), member("a")),
        "changes the 'size'",
    ),
    "damaged extended header": (_older(member("x", b"99 mtime=1\n", type=tarfile.XHDTYPE)), "damaged"),
    "huge extended header": (_older(member("x", bytes(1 << 17), type=tarfile.XHDTYPE)), "too large"),
    "negative size": (gzip.compress(_tampered(124, b"\xff" * 12)), "negative"),
    "no end": (_older(end=b""), "truncated"),
    "data after the end": (_older(end=END + member("evil")), "bytes follow"),
    "trailing bytes": (_older(tail=b"evil"), "bytes follow"),
    "second member": (_older() + _older(), "bytes follow"),
    "truncated": (_older()[:-1], "truncated"),
    "wrong checksum": (_older()[:-8] + bytes(8), "not a readable archive"),
    "bomb": (_older(member("zeros", bytes(8 << 20))), "more than is allowed"),
    "many empty members": (_older(*(member(f"d{n}", type=tarfile.DIRTYPE) for n in range(1100))), "members"),
}


@pytest.mark.parametrize(("data", "reason"), OLDER.values(), ids=OLDER)
def test_older_archives(tmp_path, data, reason):
    _refuse(tmp_path, data, reason)


def test_an_older_archive_as_the_tar_command_makes_it(tmp_path):
    """Folders, owners, times, extended headers for fractions of seconds and trailing zero blocks are harmless."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("./weights")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, content in (("./adapter.bin", b"abc"), ("./weights/manifest.json", b"1"), (f"./{MANIFEST}", b"{}")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname, info.mode = len(content), 1700000000.25, "somebody", 0o600
            tar.addfile(info, io.BytesIO(content))
    path = _bad_archive(tmp_path / "p.expert", buffer.getvalue())
    assert read_files(path) == {"adapter.bin": b"abc", "weights/manifest.json": b"1", MANIFEST: b"{}"}


def _repack(tmp_path: Path, key: SigningKey, **changes: bytes | None) -> tuple[Manifest, bytes, dict[str, str]]:
    path = tmp_path / "p.expert"
    make_package(path, key)
    files = {**read_files(path), **changes}
    write_archive(path, {name: data for name, data in files.items() if data is not None})
    found = read_files(path)
    data = found.pop(MANIFEST)
    return Manifest.parse(data), data, {name: sha256_bytes(content) for name, content in found.items()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"evil.py": b"evil"}, "evil.py of .* is not listed"),
        ({"LICENSE": None}, "LICENSE of .* is missing"),
        ({"LICENSE": b"MIT\n"}, "LICENSE of .* was altered"),
        ({"LICENSE": b""}, "LICENSE of .* was altered"),
    ],
    ids=["unlisted file", "missing file", "altered file", "emptied file"],
)
def test_files_that_differ_from_the_signed_ones(tmp_path, changes, reason):
    key = SigningKey.generate()
    manifest, data, digests = _repack(tmp_path, key, **changes)
    verify_signature(manifest, key.public)
    with pytest.raises(IntegrityError, match=reason):
        verify_files(manifest, data, digests)


def test_a_manifest_written_otherwise(tmp_path):
    key = SigningKey.generate()
    signed = sign_files(make_manifest(), FILES, key)
    compact = signed.to_bytes().replace(b"\n  ", b"\n   ")
    manifest, data, digests = _repack(tmp_path, key, **{MANIFEST: compact})
    with pytest.raises(IntegrityError, match="one serialisation"):
        verify_files(manifest, data, digests)


def test_a_signature_never_covers_two_readings_of_its_lines(tmp_path):
    """``a`` and ``b`` signed as two files must not pass as one file with a line break in its name."""
    key = SigningKey.generate()
    signed = sign_files(make_manifest(), {"a": b"1", "b": b"2"}, key)
    listed = signed.integrity["files"]
    joined = {f"a:{listed['a'].removeprefix('sha256:')}\nb": listed["b"]}
    forged = signed.with_values(integrity={**signed.integrity, "files": joined})
    with pytest.raises(SignatureError, match="not allowed as a file name"):
        verify_signature(forged, key.public)


def test_a_consumer_that_skips_content_misses_no_check(tmp_path):
    path = _bad_archive(tmp_path / "p.expert", pack(tar_of(member("a", b"x" * 600), member("b", b"y")[:-1] + b"!")))
    with pytest.raises(ArchiveError, match="hide behind"):
        for _ in read_archive(path):
            pass
