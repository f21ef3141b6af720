"""What was altered in the store is seen by every command that needs it, and mended; what
failed leaves nothing behind."""

import errno
import os
import re
import time

import pytest

from tests.support.projects import Listening
from tests.support.simulator import IndexSimulator
from xpm.cli.changes import render_change
from xpm.cli.render import Console
from xpm.errors import LockfileError
from xpm.files import write_atomically
from xpm.home import Home
from xpm.operations import install as operations
from xpm.operations import undo as undoing
from xpm.operations.collect import collect
from xpm.operations.installed import find_installed
from xpm.operations.options import Options
from xpm.operations.verify import verify
from xpm_index import git as git_module
from xpm_index.errors import DiskFullError, IntegrityError
from xpm_index.git import BareRepo
from xpm_index.requirements import Requirement


@pytest.fixture
def index(tmp_path):
    made = IndexSimulator(tmp_path)
    made.serve("expert-a", "1.0.0")
    made.serve("expert-b", "1.0.0")
    return made


@pytest.fixture
def slots(environment):
    """A file in the store, of an environment with expert-a."""
    operations.install(environment, [Requirement.parse("a")])
    return find_installed(environment, "a").folder / "slots.safetensors"


def flip(path):
    """Other bytes of the same length, as a disk or a careless program leaves them."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "other bytes": flip,
    "cut off": lambda path: (path.chmod(0o644), path.write_bytes(path.read_bytes()[:-1])),
    "gone": lambda path: path.unlink(),
    "a link": lambda path: (path.unlink(), path.symlink_to("manifest.json")),
    "one file more": lambda path: path.with_name("more.txt").write_text("x"),
    "the manifest": lambda path: flip(path.with_name("manifest.json")),
}
MENDING = {
    "sync": lambda environment, options: operations.sync(environment, options, frozen=True),
    "install": lambda environment, options: operations.install(environment, [Requirement.parse("b")], options),
    "update": lambda environment, options: operations.update(environment, [], options),
    "verify": lambda environment, options: verify(environment, options, repair=True),
}


@pytest.mark.parametrize(
    ("damage", "mending"), [*((each, "sync") for each in DAMAGES), *(("other bytes", each) for each in MENDING)]
)
def test_what_was_altered_is_fetched_again(environment, slots, damage, mending):
    DAMAGES[damage](slots)
    with pytest.raises(IntegrityError) as caught:
        verify(environment)
    assert "xpm verify --repair" in caught.value.hint
    listening = Listening()
    MENDING[mending](environment, Options(progress=listening))
    assert listening.warnings == ["expert-a 1.0.0 was altered in the store and is fetched again"]
    assert slots.read_bytes() == b"expert-a 1.0.0"
    assert slots.stat().st_mode & 0o222 == 0
    assert "expert-a 1.0.0" in verify(environment).verified


def test_undo_mends_too(environment, slots):
    operations.install(environment, [Requirement.parse("b")])
    flip(slots)
    undoing.undo(environment)
    assert "expert-a 1.0.0" in verify(environment).verified


def test_a_full_check_sees_what_sizes_and_times_hide(environment, slots):
    before = slots.stat()
    flip(slots)
    os.utime(slots, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert operations.sync(environment).fetched == ()
    done = verify(environment, repair=True)
    assert done.repaired == ("expert-a 1.0.0",)
    assert slots.read_bytes() == b"expert-a 1.0.0"


def test_what_was_only_touched_is_not_fetched(environment, slots):
    """A copy of the home has other times; nor does a home of an earlier xpm have records."""
    os.utime(slots)
    assert operations.sync(environment).fetched == ()
    for record in (environment.store.root / "records").iterdir():
        record.unlink()
    assert operations.sync(environment).fetched == ()
    assert len(list((environment.store.root / "records").iterdir())) == 2


def test_reinstall_fetches_everything(environment, slots):
    before = slots.stat().st_ino
    assert operations.sync(environment, reinstall=True).fetched == ("xpm-tiny 9.0.0", "expert-a 1.0.0")
    assert slots.stat().st_ino != before
    assert operations.sync(environment).fetched == ()


def test_records_go_with_what_they_are_of(environment, slots):
    operations.uninstall(environment, ["a"])
    assert collect(environment.home, keep_undo=-collect.__kwdefaults__["keep_undo"]).removed
    assert len(list((environment.store.root / "records").iterdir())) == len(environment.store.digests())


@pytest.mark.parametrize("what", ["digest", "size", "key_id"])
def test_an_altered_lock_is_not_the_publisher_s_fault(environment, slots, what):
    path = environment.folder / "xpm.lock"
    text = path.read_text()
    head, tail = text.split('name = "expert-a"')
    old = re.search(rf"\b{what} = (\S+)", tail)[1]
    new = {"digest": '"sha256:' + "0" * 64 + '"', "size": "1", "key_id": '"0000000000000000"'}[what]
    path.write_text(head + 'name = "expert-a"' + tail.replace(f"{what} = {old}", f"{what} = {new}", 1))
    fresh = type(environment).find(Home(environment.home.root.parent / "fresh"), environment.folder)
    with pytest.raises(LockfileError, match="is not what index main has") as caught:
        operations.sync(fresh, frozen=True)
    assert "publisher" not in caught.value.hint
    assert "xpm lock" in caught.value.hint
    assert new.strip('"') in f"{caught.value.context} {text}" or what == "size"
    assert fresh.store.digests() == []


# Leftovers


def test_a_killed_writer_s_file_goes_with_the_next_write(tmp_path):
    path = tmp_path / "xpm.toml"
    left, fresh, other = (
        tmp_path / name for name in (".xpm.toml.abcdefgh.tmp", ".xpm.toml.ijklmnop.tmp", ".x.toml.q.tmp")
    )
    for each in (left, fresh, other):
        each.write_text("x")
    for each in (left, other):
        os.utime(each, (time.time() - 3600,) * 2)
    write_atomically(path, b"new")
    assert not left.exists()
    assert fresh.exists()  # perhaps somebody is writing just now
    assert other.exists()
    assert path.read_bytes() == b"new"


def test_a_fetch_for_want_of_room_says_so_and_leaves_no_pack(index, tmp_path, monkeypatch):
    with BareRepo.init(tmp_path / "copy.git") as repo:

        def full(*args, **options):
            (repo.path / "objects" / "pack" / "tmp_pack_abc").write_bytes(b"PACK")
            (repo.path / "objects" / "pack" / "tmpk2_x8.pack").write_bytes(b"PACK")
            (repo.path / "objects" / "tmp_pack_def").write_bytes(b"PACK")
            (repo.path / "objects" / "incoming-x").mkdir()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(git_module, "talk", full)
        with pytest.raises(DiskFullError, match="the disk is full") as caught:
            repo.fetch(index.url)
        assert "network" not in caught.value.hint
        left = [path.name for path in (repo.path / "objects").rglob("*")]
        assert [name for name in left if name.startswith(("tmp", "incoming"))] == []


# What changed


def test_nothing_changed_only_when_nothing_changed(environment, slots, index, capsys):
    def shown(change):
        render_change(Console(), change, as_json=False, dry_run=False)
        return capsys.readouterr().err

    assert "nothing changed" in shown(operations.sync(environment))
    flip(slots)
    assert shown(operations.sync(environment)) == "fetched: expert-a 1.0.0\n"
    change = operations.install(environment, [Requirement.parse("a@>=0.5")])
    assert shown(change) == "written: xpm.toml and xpm.lock; the experts stay the same\n"
    index.serve("xpm-tiny", "9.1.0", base=None)
    change = operations.update(environment, [])
    assert shown(change).startswith("another base: xpm-tiny 9.0.0 fp32 -> xpm-tiny 9.1.0 fp32")
    assert "nothing changed" in shown(operations.update(environment, []))
