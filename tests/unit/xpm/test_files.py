"""xpm.toml and xpm.lock: what is written is read back; what is wrong is told with its key path; writing is all or nothing."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from xpm.errors import LockfileError, ProjectError
from xpm.files import write_atomically
from xpm.lockfile import LOCK_FILE, LockedIndex, LockedPackage, Lockfile, require_current, stated_requirements
from xpm.locks import locked_file
from xpm.project import PROJECT_FILE, IndexSource, Project
from xpm_index.entries import ArchiveRef
from xpm_index.errors import XpmError
from xpm_index.versions import Version

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


def _package(name: str, kind: str, *refs: ArchiveRef) -> LockedPackage:
    return LockedPackage(
        name=name,
        version=Version.parse("1.2.0"),
        kind=kind,
        index="main",
        publisher="acme",
        key_id="k",
        load_order=5,
        requires=("b@^1",),
        archives=refs,
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
        experts={"b": "^1.0.0", "a": "*"},
        variant="int4",
        indexes={
            "acme": IndexSource(url="https://git.example.org/acme.git", fingerprint="sha256:" + "0" * 64, explicit=True)
        },
        pinned={"b": "acme"},
        overrides={"c": "<2"},
    )
    project.save(tmp_path)
    assert Project.read(tmp_path) == replace(project, experts={"a": "*", "b": "^1.0.0"})


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
    project = Project(base="tiny", experts={"expert-a": "^1"})
    assert stated_requirements(project) == LOCK.requirements
    require_current(LOCK, project)
    for other in (project.with_expert("b", "*"), replace(project, variant="int4"), project.without_expert("expert-a")):
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
    project.with_expert("c", "^2").with_expert("a", "^3").without_expert("b").save(tmp_path)
    changed = (tmp_path / "xpm.toml").read_text()
    assert changed == text.replace('b = "^1"   # pinned by hand\n', "").replace('a = "*"', 'a = "^3"\nc = "^2"')


def test_a_new_project_is_written_as_people_would(tmp_path):
    source = IndexSource(url="https://git.example.org/acme.git", fingerprint="sha256:" + "0" * 64)
    Project(experts={"a": "^1"}, indexes={"acme": source}, pinned={"a": "acme"}).save(tmp_path)
    text = (tmp_path / "xpm.toml").read_text()
    assert 'a = {version = "^1", index = "acme"}' in text
    assert 'acme = {url = "https://git.example.org/acme.git", fingerprint = "sha256:000' in text


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from xpm.locks import locked_file\n"
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
