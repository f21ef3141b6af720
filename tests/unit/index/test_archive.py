"""Archives: the same content gives the same bytes, and what was written is read back."""

import os
import tarfile

import pytest
import zstandard

from tests.support.packages import make_manifest
from xpm_index.archive import (
    BASE_LIMITS,
    EXPERT_LIMITS,
    MANIFEST,
    archive_name,
    extract_archive,
    limits_for,
    ordered,
    read_archive,
    read_files,
    read_manifest,
    write_archive,
)
from xpm_index.digests import sha256_file
from xpm_index.errors import ArchiveError, PackagingError

FILES = {
    "weights.bin": os.urandom(3000),
    MANIFEST: make_manifest().to_bytes(),
    "a/empty": b"",
    "README.md": b"x" * 512,
    "a/b/c.txt": b"y" * 511,
}


def test_what_was_written_is_read_back_in_order(tmp_path):
    path = tmp_path / "p.expert"
    write_archive(path, FILES)
    assert read_files(path) == FILES
    assert list(read_files(path)) == [MANIFEST, "README.md", "a/b/c.txt", "a/empty", "weights.bin"] == ordered(FILES)


def test_bytes_depend_on_content_alone(tmp_path):
    first, second = tmp_path / "1.expert", tmp_path / "2.expert"
    write_archive(first, FILES)
    source = tmp_path / "weights"
    source.write_bytes(FILES["weights.bin"])
    source.chmod(0o600)
    os.utime(source, (1, 1))
    write_archive(second, {**dict(reversed(FILES.items())), "weights.bin": source})
    assert first.read_bytes() == second.read_bytes()


def test_any_tar_and_zstd_can_unpack_it(tmp_path):
    path = tmp_path / "p.expert"
    write_archive(path, FILES)
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        tar = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert found == FILES


def test_large_incompressible_content_in_chunks(tmp_path):
    path, content = tmp_path / "p.expert", os.urandom(5 << 20)  # more than one window
    write_archive(path, {MANIFEST: b"{}", "weights": content})
    members = {name: list(chunks) for name, chunks in read_archive(path)}
    assert b"".join(members["weights"]) == content
    assert max(map(len, members["weights"])) <= 1 << 20


def test_extraction_makes_the_folders(tmp_path):
    path, into = tmp_path / "p.expert", tmp_path / "into"
    write_archive(path, FILES)
    into.mkdir()
    extract_archive(path, into)
    assert {str(each.relative_to(into)): each.read_bytes() for each in into.rglob("*") if each.is_file()} == FILES


def test_extraction_overwrites_nothing(tmp_path):
    path = tmp_path / "p.expert"
    write_archive(path, FILES)
    (tmp_path / MANIFEST).write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        extract_archive(path, tmp_path)
    assert (tmp_path / MANIFEST).read_bytes() == b"mine"


def test_the_manifest_alone(tmp_path):
    path = tmp_path / "p.expert"
    write_archive(path, FILES)
    assert read_manifest(path).to_bytes() == FILES[MANIFEST]


def test_a_missing_file(tmp_path):
    with pytest.raises(ArchiveError, match="could not be read"):
        read_files(tmp_path / "absent.expert")


def test_the_writer_wants_a_manifest(tmp_path):
    with pytest.raises(PackagingError, match=r"would have no manifest\.json"):
        write_archive(tmp_path / "p.expert", {"README.md": b""})
    assert not (tmp_path / "p.expert").exists()


@pytest.mark.parametrize("name", ["a" * 99, "a b", "weights/#1,2+3=(5)~.bin", "-rf", ".gitignore", "0"])
def test_unusual_but_allowed_names(tmp_path, name):
    path = tmp_path / "p.expert"
    write_archive(path, {MANIFEST: b"{}", name: b"content"})
    assert read_files(path) == {MANIFEST: b"{}", name: b"content"}


def test_bases_may_be_larger_than_experts(tmp_path):
    assert limits_for(tmp_path / "a.base") is BASE_LIMITS
    assert limits_for(tmp_path / "a.expert") is EXPERT_LIMITS
    assert BASE_LIMITS.max_bytes > EXPERT_LIMITS.max_bytes


def test_names_of_archives():
    assert archive_name("expert-sql", "0.1.0", base="xpm-tiny") == "expert-sql-xpm-tiny.v0.1.0.expert"
    assert archive_name("xpm-tiny", "0.1.0", variant="fp32") == "xpm-tiny-fp32.v0.1.0.base"


def test_the_form_of_the_bytes_is_frozen(tmp_path):
    """Published digests rely on it: a change of these bytes is a change of the format."""
    path = tmp_path / "p.expert"
    write_archive(path, {MANIFEST: b'{\n  "name": "x"\n}\n', "LICENSE": b"Apache-2.0\n"})
    unpacked = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    plain = tmp_path / "p.tar"
    plain.write_bytes(unpacked)
    assert sha256_file(plain) == "sha256:d83bf66d6c20f5c698c324bc745eeedde58f30770f9907947cb42d6b41ba28ba"


def test_what_breaks_off_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("xpm_index.archive._open", _raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "a.expert", {"manifest.json": b"{}"})


def _raise_interrupt(content):
    raise KeyboardInterrupt
