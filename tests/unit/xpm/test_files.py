"""xpm.toml and xpm.lock: what is written is read back; what is wrong is told with its key path;
writing is all or nothing."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xpm.errors import LockfileError, ProjectError, UsageError
from xpm.files import write_atomically
from xpm.lockfile import (
    LOCK_FILE,
    Editable,
    Indexed,
    LockedIndex,
    LockedPackage,
    Lockfile,
    Pinned,
    require_current,
    stated_requirements,
)
from xpm.project import PROJECT_FILE, IndexSource, Project
from xpm.sources import FromArchive, FromFolder, FromIndex
from xpm_index.entries import ArchiveRef
from xpm_index.errors import XpmError
from xpm_index.keys import SigningKey
from xpm_index.locks import locked_file
from xpm_index.requirements import Requirement
from xpm_index.versions import ANY, Version, VersionRange

BASE = "sha256:" + "b" * 64


def _ref(variant: str = "", digest: str = "d") -> ArchiveRef:
    return ArchiveRef(
        base="tiny",
        base_digest=BASE,
        variant=variant,
        digest="sha256:" + digest * 64,
        size=7,
        sources=("blob:archives/x",),
    )


def wanted(text: str, index: str = "") -> FromIndex:
    return FromIndex(requirement=Requirement.parse(text), index=index)


def _package(name: str, kind: str, *refs: ArchiveRef) -> LockedPackage:
    return LockedPackage(
        name=name,
        version=Version.parse("1.2.0"),
        kind=kind,
        load_order=5,
        requires=(Requirement.parse("b@^1"),),
        origin=Indexed(index="main", publisher="acme", key_id="k", archives=refs),
    )


LOCK = Lockfile(
    requirements=("tiny@*", "expert-a@^1"),
    variant="fp32",
    indexes=(LockedIndex(name="main", id="1", head="c" * 40),),
    base=_package("tiny", "base", _ref("fp32"), _ref("int4", "e")),
    experts=(_package("expert-a", "expert", _ref()),),
)


def test_lock_round_trip(tmp_path):
    LOCK.save(tmp_path)
    assert Lockfile.read(tmp_path) == LOCK
    assert Lockfile.read(tmp_path).to_bytes() == (tmp_path / LOCK_FILE).read_bytes()


def test_each_origin_is_written_and_read(tmp_path):
    key = SigningKey.generate().public
    pinned = Pinned(source="./dist/x.expert", publisher="indie", key=key, archives=(_ref(),))
    origins = (pinned, Editable(source="../draft"))
    experts = tuple(replace(LOCK.experts[0], name=f"expert-{i}", origin=each) for i, each in enumerate(origins))
    lock = replace(LOCK, experts=experts)
    lock.save(tmp_path)
    assert Lockfile.read(tmp_path) == lock
    assert [package.name for package, _ in lock.stored] == ["tiny", "expert-0"]
    assert lock.packages[2].archives == ()
    editable = (tmp_path / LOCK_FILE).read_text().rpartition("[[expert]]")[2]
    assert editable.split() == [
        *('source = "../draft" name = "expert-1" version = "1.2.0" kind = "expert" load_order = 5'.split()),
        *('requires = [ "b@^1", ]'.split()),
    ]


def test_an_editable_package_as_earlier_versions_wrote_it(tmp_path):
    made_up = LOCK.to_bytes().replace(
        b'name = "expert-a"\nversion = "1.2.0"\nkind = "expert"\nindex = "main"\npublisher = "acme"\nkey_id = "k"\n',
        b'source = "../a"\npublic_key = ""\nname = "expert-a"\nversion = "1.2.0"\nkind = "expert"\nindex = ""\n'
        b'publisher = "local"\nkey_id = ""\n',
    )
    assert b"public_key" in made_up
    (tmp_path / LOCK_FILE).write_bytes(made_up)
    assert Lockfile.read(tmp_path).experts[0].origin == Editable(source="../a")


def test_no_lock_is_none(tmp_path):
    assert Lockfile.read(tmp_path) is None


def test_the_archive_of_the_variant(tmp_path):
    assert LOCK.archive_of(LOCK.base).variant == "fp32"
    with pytest.raises(LockfileError, match="no archive of tiny"):
        replace(LOCK, variant="int8").archive_of(LOCK.base)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"format = 1", b"format = 2", "has format 2"),
        (b'version = "1.2.0"', b'version = "1.2"', "base.version"),
        (b'variant = "fp32"\n', b"\n", "variant is missing"),
        (b'digest = "sha256:d', b'digest = "sha256:D', "base.archive[0].digest"),
        (b"size = 7", b'size = "7"', "archive[0].size must be a whole number"),
        (b"[base]\n", b'[base]\nsource = "../a"\n', "has no archive"),
        (b'requires = [\n    "b@^1"', b'requires = [\n    "b@?"', "base.requires[0]"),
        (b"[base]", b"[base", "not valid TOML"),
    ],
)
def test_a_damaged_lock_is_told_where(old, new, message, tmp_path):
    data = LOCK.to_bytes()
    assert old in data
    (tmp_path / LOCK_FILE).write_bytes(data.replace(old, new, 1))
    with pytest.raises(LockfileError) as caught:
        Lockfile.read(tmp_path)
    assert message in str(caught.value)


def test_project_round_trip(tmp_path):
    project = Project(
        wants={"b": wanted("b@^1.0.0", index="acme"), "a": wanted("a")},
        variant="int4",
        indexes={
            "acme": IndexSource(url="https://git.example.org/acme.git", fingerprint="sha256:" + "0" * 64, explicit=True)
        },
        overrides={"c": VersionRange.parse("<2")},
    )
    project.save(tmp_path)
    assert Project.read(tmp_path) == project


def test_the_base_s_source_is_in_the_same_table(tmp_path):
    archive = FromArchive(path=Path("dist/tiny-int4.v1.0.0.base"))
    folder = FromFolder(path=Path("../a"))
    project = Project(wants={"a": folder}).with_base("tiny", archive, variant="int4")
    project.save(tmp_path)
    assert Project.read(tmp_path) == project
    assert project.direct == {"a": folder, "tiny": archive}
    assert project.requirements == (Requirement.parse("a"),)
    assert project.with_base("tiny", wanted("tiny")).wants == {"a": folder}
    with pytest.raises(UsageError, match="is the base here"):
        project.with_expert("tiny", folder)
    (tmp_path / PROJECT_FILE).write_text("[base]\nname = 'tiny'\n[experts]\ntiny = '*'\n")
    with pytest.raises(ProjectError, match=r"experts\.tiny in .* is the base"):
        Project.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[expert]\na = '*'", "unknown key 'expert'"),
        ("[experts]\na = 1", "experts.a must be a string"),
        ("[experts]\na = 'newest'", "experts.a"),
        ("[experts]\nA_b = '*'", "not a valid name"),
        ("[indexes]\nembedded = 'https://x.example'", "comes with xpm"),
        ("[indexes]\nacme = 'https://me:secret@x.example'", "holds credentials"),
        ("experts = 3", "experts must be an object"),
        ("[", "not valid TOML"),
    ],
)
def test_a_wrong_project_is_told_where(text, message, tmp_path):
    (tmp_path / PROJECT_FILE).write_text(text)
    with pytest.raises(XpmError) as caught:
        Project.read(tmp_path)
    assert message in str(caught.value)
    assert "secret" not in f"{caught.value} {caught.value.context} {caught.value.hint}"
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ProjectError) or "name" in message


def test_a_lock_of_other_wishes_is_out_of_date():
    project = Project(base="tiny", wants={"expert-a": wanted("expert-a@^1")})
    assert stated_requirements(project) == LOCK.requirements
    require_current(LOCK, project)
    for other in (project.with_range("b", ANY), replace(project, variant="int4"), project.without_expert("expert-a")):
        with pytest.raises(LockfileError, match="does not agree"):
            require_current(LOCK, other)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_people_wrote_into_the_project_stays(tmp_path):
    text = """# Ours.
[experts]
b = "^1"   # pinned by hand

# the other
a = "*"

[base]
name = "xpm-tiny"
variant = "fp32"

[indexes]
acme = { url = "https://git.example.org/acme.git" }  # internal
"""
    (tmp_path / "xpm.toml").write_text(text)
    project = Project.read(tmp_path)
    project.save(tmp_path)
    assert (tmp_path / "xpm.toml").read_text() == text
    changed = project.with_range("c", VersionRange.parse("^2")).with_range("a", VersionRange.parse("^3"))
    changed.without_expert("b").save(tmp_path)
    changed = (tmp_path / "xpm.toml").read_text()
    assert changed == text.replace('b = "^1"   # pinned by hand\n', "").replace('a = "*"', 'a = "^3"\nc = "^2"')


def test_a_new_project_is_written_as_people_would(tmp_path):
    source = IndexSource(url="https://git.example.org/acme.git", fingerprint="sha256:" + "0" * 64)
    Project(wants={"a": wanted("a@^1", index="acme")}, indexes={"acme": source}).save(tmp_path)
    text = (tmp_path / "xpm.toml").read_text()
    assert 'a = {version = "^1", index = "acme"}' in text
    assert 'acme = {url = "https://git.example.org/acme.git", fingerprint = "sha256:000' in text


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from xpm_index.locks import locked_file\n"
        "with locked_file(Path(sys.argv[1]), timeout_s=0): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError, match="is locked"), locked_file(path, timeout_s=0.2):
            pass
        other.kill()
        other.wait()
        with locked_file(path, timeout_s=5), pytest.raises(TimeoutError), locked_file(path, timeout_s=0):
            pass
    with locked_file(path, timeout_s=0):
        pass


def test_what_can_t_be_locked_is_no_lock_that_is_held(tmp_path):
    with pytest.raises(IsADirectoryError), locked_file(tmp_path, timeout_s=0):
        pass
