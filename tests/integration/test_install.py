"""Operations against real indexes: what they change, and that a refused one changes nothing."""

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.packages import SLOTS, make_publisher
from tests.support.projects import Listening
from tests.support.simulator import IndexSimulator
from xpm import history
from xpm.errors import FetchError, LockfileError, NotFoundError, StoreError
from xpm.home import Home
from xpm.lockfile import Lockfile
from xpm.operations import indexes as index_operations
from xpm.operations import install as operations
from xpm.operations.choice import Candidates, named, routed
from xpm.operations.inspect import search
from xpm.operations.installed import find_installed, installed
from xpm.operations.options import Options
from xpm.operations.publish import publish
from xpm.operations.verify import verify
from xpm.progress import Silent
from xpm.search import Query
from xpm.sources import FromIndex
from xpm.trust import Verified, verify_archive
from xpm_index.archive import read_files, write_archive
from xpm_index.errors import DiskFullError, GitError, IntegrityError, KeyFileError, TrustError, XpmError
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import archive_path, entry_path, publisher_path
from xpm_index.manifest import Manifest
from xpm_index.publishing import sign_archive
from xpm_index.requirements import Requirement
from xpm_index.tuf_keys import Keyring
from xpm_index.versions import ANY, Version


@pytest.fixture
def index(tmp_path):
    made = IndexSimulator(tmp_path)
    made.serve("expert-a", "1.0.0", requires=["expert-b@^1"], keywords=["alpha"])
    made.serve("expert-b", "1.0.0")
    made.serve("expert-b", "1.1.0")
    made.serve("expert-b", "2.0.0")
    return made


def install(environment, *names, **options):
    return operations.install(environment, [Requirement.parse(name) for name in names], Options(**options))


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest; what is a lock or a fetched index is left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock" and "indexes" not in path.parts
    }


def test_install_brings_what_is_required(environment):
    change = install(environment, "a")
    assert change.added == ("expert-b 1.1.0", "expert-a 1.0.0")
    assert environment.project().wants == {"expert-a": FromIndex(requirement=Requirement.parse("expert-a@^1.0.0"))}
    assert [each.package.name for each in installed(environment)] == ["xpm-tiny", "expert-b", "expert-a"]
    assert (find_installed(environment, "b").folder / "slots.safetensors").read_text() == "expert-b 1.1.0"
    assert verify(environment).verified == ("xpm-tiny 9.0.0", "expert-b 1.1.0", "expert-a 1.0.0")
    assert install(environment, "a").fetched == ()


def test_the_lock_is_parsed_once(environment, monkeypatch):
    install(environment, "a")
    parsed, parse = [], Lockfile._from_fields.__func__
    monkeypatch.setattr(Lockfile, "_from_fields", classmethod(lambda cls, *args: parsed.append(1) or parse(cls, *args)))
    for command in (
        lambda: install(environment, "b"),
        lambda: operations.update(environment, []),
        lambda: operations.sync(environment),
        lambda: Candidates(environment, base="", scratch=Path(), progress=Silent()).compose("alpha", None),
        lambda: operations.uninstall(environment, ["b"]),
    ):
        parsed.clear()
        command()
        assert len(parsed) == 1


def test_a_dry_run_changes_nothing(environment):
    before = state(environment.folder)
    assert install(environment, "a", dry_run=True).added == ("expert-b 1.1.0", "expert-a 1.0.0")
    assert state(environment.folder) == before
    assert environment.store.digests() == []


def test_uninstall_takes_what_nothing_needs(environment):
    install(environment, "a")
    with pytest.raises(NotFoundError, match="not installed") as caught:
        operations.uninstall(environment, ["b"])
    assert "requires" in caught.value.hint
    change = operations.uninstall(environment, ["a"])
    assert set(change.removed) == {"expert-a 1.0.0", "expert-b 1.1.0"}
    assert environment.project().wants == {}


def test_update_follows_the_index(environment, index):
    install(environment, "b@^1")
    index.serve("expert-b", "1.2.0")
    assert operations.sync(environment).updated == ()
    change = operations.update(environment, [])
    assert change.updated == ("expert-b 1.1.0 -> 1.2.0",)


def test_did_you_mean(environment):
    with pytest.raises(NotFoundError, match="no index has expert-bb") as caught:
        install(environment, "expert-bb")
    assert caught.value.hint == "did you mean expert-b?"


def found(environment, *words, **filters):
    return [f"{each.name} {each.entry.version}" for each in search(environment, Query(words=words, **filters))]


def test_search_by_words_and_filters(environment, index):
    index.serve("expert-c", "1.0.0", description="Über Äpfel", tags=["fruit"])
    index_operations.update(environment, None)
    assert found(environment, "alpha") == ["expert-a 1.0.0"]
    assert found(environment, "expert", "b", publisher="acme") == ["expert-b 2.0.0"]
    assert found(environment, "apfel") == ["expert-c 1.0.0"]
    assert found(environment, tag="fruit") == ["expert-c 1.0.0"]
    assert found(environment, kind="base", publisher="acme") == ["xpm-tiny 9.0.0"]
    assert found(environment, base="other") == []
    assert found(environment, "nothing", "alpha") == []


def test_search_follows_the_index(environment, index):
    assert found(environment, "newcomer") == []
    index.serve("expert-d", "1.0.0", description="a newcomer")
    index_operations.update(environment, "main")
    assert found(environment, "newcom") == ["expert-d 1.0.0"]


def test_one_entry_that_does_not_verify_leaves_the_others_findable(environment, index):
    data = _blob(index, entry_path("expert-a"))
    _tamper(index, entry_path("expert-a"), data.replace(b"about", b"abuot"))
    hits = {each.name: each for each in search(environment, Query(words=("expert",), publisher="acme"))}
    assert hits["expert-a"].entry is None
    assert "not what the index's metadata promises" in hits["expert-a"].problem
    assert str(hits["expert-b"].entry.version) == "2.0.0"


def test_sync_needs_no_index_when_everything_is_there(environment, index):
    install(environment, "a")
    index.path.rename(index.path.with_suffix(".away"))
    for options in ({}, {"locked": True}, {"frozen": True}):
        assert operations.sync(environment, Options(offline=True), **options).fetched == ()


def test_locked_and_frozen(environment):
    with pytest.raises(LockfileError, match=r"no xpm\.lock"):
        operations.sync(environment, frozen=True)
    install(environment, "b@^1")
    environment.project().with_range("expert-a", ANY).save(environment.folder)
    with pytest.raises(LockfileError, match="does not agree"):
        operations.sync(environment, locked=True)
    assert operations.sync(environment, frozen=True).added == ()


def test_offline_never_fetches(environment):
    with pytest.raises(FetchError, match="--offline"):
        install(environment, "a", offline=True)


def _tamper(index, path, data):
    index.writer.repo.commit_files({path: data}, message="evil", author="x <x@x>")


def _blob(index, path):
    return index.writer.repo.read_blob(index.writer.repo.head(), path)


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("place", [0, 10, 100, -1])
def test_an_altered_archive_is_refused(place, environment, index):
    path = archive_path("expert-a", "expert-a-xpm-tiny.v1.0.0.expert")
    data = _blob(index, path)
    _tamper(index, path, _flip(data, place % len(data)))
    _refused(environment, IntegrityError, "was altered")


def test_an_altered_entry_is_refused(environment, index):
    data = _blob(index, entry_path("expert-a"))
    _tamper(index, entry_path("expert-a"), data.replace(b"about", b"abuot"))
    _refused(environment, TrustError, "is not what the index's metadata promises")


def test_a_cut_off_entry_is_refused(environment, index):
    _tamper(index, entry_path("expert-a"), _blob(index, entry_path("expert-a"))[:-9])
    _refused(environment, TrustError, "is not what the index's metadata promises")


def test_a_stolen_namespace_is_refused(environment, index):
    """Somebody with write access to the repository, and the online key, replaces a publisher's key by their own."""
    install(environment, "b@^1")
    thief = SigningKey.generate()
    stolen = Keyring([index.index_keys.online])
    writer = IndexWriter.open(index.path, keys=stolen)
    with pytest.raises(KeyFileError, match="targets needs 1 of its keys"):
        writer.put_publisher(make_publisher(thief))
    _tamper(index, publisher_path("acme"), make_publisher(thief).to_bytes())
    before = state(environment.folder), environment.store.digests()
    with pytest.raises(TrustError, match="is not what the index's metadata promises"):
        operations.update(environment, [])
    assert (state(environment.folder), environment.store.digests()) == before


def test_a_publisher_nobody_registered_is_refused(environment, index):
    assert _blob(index, publisher_path("acme"))
    _tamper(index, publisher_path("acme"), b"{}")
    _refused(environment, XpmError, "publisher")


def test_a_rolled_back_index_is_refused(environment, index, tmp_path):
    install(environment, "b@^1")
    index.writer.repo.close()
    index.path.rename(tmp_path / "away.git")
    IndexSimulator(tmp_path)
    with pytest.raises(TrustError, match="one of its roots"):
        index_operations.update(environment, "main")


def test_what_was_altered_in_the_store_is_found(environment):
    install(environment, "a")
    file = find_installed(environment, "a").folder / "slots.safetensors"
    file.chmod(0o644)
    file.write_bytes(b"evil")
    with pytest.raises(IntegrityError, match=r"slots\.safetensors of expert-a 1\.0\.0 was altered"):
        verify(environment)


def test_two_indexes_must_not_claim_one_name(environment, tmp_path, index):
    (tmp_path / "two").mkdir()
    other = IndexSimulator(tmp_path / "two", name="other", with_base=False)
    other.serve("expert-a", "9.0.0")
    index_operations.add(environment, "other", other.url, progress=Silent(), fingerprint=other.fingerprint)
    _refused(environment, TrustError, "in several indexes")


def test_an_index_that_fails_stops_no_other(environment, tmp_path, index):
    install(environment, "b@^1")
    (tmp_path / "two").mkdir()
    other = IndexSimulator(tmp_path / "two", name="other", with_base=False)
    index_operations.add(environment, "other", other.url, progress=Silent(), fingerprint=other.fingerprint)
    project = environment.project()
    first = {"other": project.indexes["other"], "main": project.indexes["main"]}
    dataclasses.replace(project, indexes=first).save(environment.folder)
    other.path.rename(other.path.with_suffix(".away"))
    index.serve("expert-b", "1.2.0")
    listening, fetched = Listening(), {}
    options = Options(progress=listening)
    with pytest.raises(GitError, match="could not"):
        index_operations.update(environment, None, options, done=lambda name, is_new: fetched.update({name: is_new}))
    assert fetched == {"main": True, "embedded": False}
    assert [each.split(":")[0] for each in listening.warnings] == ["index other was not updated"]
    index.serve("expert-b", "1.3.0")
    changes = []
    with pytest.raises(GitError, match="could not"):
        operations.update(environment, [], done=changes.append)
    assert changes[0].updated == ("expert-b 1.1.0 -> 1.3.0",)
    assert environment.lockfile().experts[0].version == Version.parse("1.3.0")


def test_an_index_that_is_none_is_not_added(environment, tmp_path):
    before = state(environment.folder)
    with pytest.raises(XpmError, match="could not"):
        index_operations.add(environment, "ghost", f"file://{tmp_path}/ghost.git", progress=Silent())
    assert state(environment.folder) == before


def test_a_local_path_becomes_a_url(environment, tmp_path, monkeypatch):
    (tmp_path / "two").mkdir()
    other = IndexSimulator(tmp_path / "two", name="other", with_base=False)
    monkeypatch.chdir(tmp_path)
    assert (
        index_operations.add(
            environment, "other", "two/other.git", progress=Silent(), fingerprint=other.fingerprint
        ).url
        == f"file://{tmp_path}/two/other.git"
    )
    with pytest.raises(XpmError, match="not the URL of an index"):
        index_operations.add(environment, "void", " ", progress=Silent())


@pytest.mark.parametrize("step", ["xpm.trust._created", "xpm.store.sync_folder"])
def test_a_full_disk_leaves_no_partial_package(environment, monkeypatch, step):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    before = state(environment.folder)
    with pytest.raises(DiskFullError, match="could not be stored: the disk is full"):
        install(environment, "a")
    monkeypatch.undo()
    assert state(environment.folder) == before
    assert environment.store.digests() == []
    assert not (environment.store.root / "tmp").exists()
    assert install(environment, "a").added


def _refused(environment, kind, message):
    """Installing fails with the error, and neither project, lock nor store changes."""
    before = state(environment.folder), state(environment.home.store)
    with pytest.raises(kind, match=message) as caught:
        install(environment, "a")
    stored = {each for each in environment.store.digests() if each in str(caught.value)}
    assert not stored
    assert state(environment.folder) == before[0]
    assert not any("expert-a" in path.read_text() for path in environment.home.store.rglob("manifest.json"))
    assert not (environment.home.store / "tmp").exists()


def test_every_byte_of_an_archive_counts(environment, index, tmp_path):
    """Flip each byte in turn, as the installer sees it: always refused, with the exit code
    of its kind, never stored."""
    entry = index.serve("expert-c", "1.0.0")
    archive = index.archives["expert-c 1.0.0"]
    data, copy = archive.read_bytes(), archive.with_name("copy.expert")
    for place in range(len(data)):
        copy.write_bytes(_flip(data, place))
        with pytest.raises(XpmError) as caught:
            verify_archive(copy, entry.archives[0], entry, index.key.public, scratch=tmp_path)
        assert caught.value.exit_code == 6
    assert environment.store.digests() == []


def test_only_the_named_publisher_will_do(environment):
    assert install(environment, "acme/b@^1", dry_run=True).added == ("expert-b 1.1.0",)
    with pytest.raises(NotFoundError, match="nobody has not published expert-b"):
        install(environment, "nobody/b")


def test_an_archive_exchanged_after_it_was_verified_is_not_stored(environment, index):
    """What was verified is what was unpacked, and that is stored: nobody looks at the archive again."""
    entry = index.serve("expert-c", "1.0.0")
    archive, ref = index.archives["expert-c 1.0.0"], entry.archives[0]
    files = read_files(archive)
    evil = {**files, "manifest.json": files["manifest.json"].replace(b"about", b"abuot"), "extra.txt": b"x"}
    with environment.home.locked(), environment.store.scratch() as scratch:
        verified = verify_archive(archive, ref, entry, index.key.public, scratch=scratch)
        assert environment.store.digests() == []
        write_archive(archive, evil)
        with pytest.raises(IntegrityError, match="was altered"):
            verify_archive(archive, ref, entry, index.key.public, scratch=scratch)
        folder = environment.store.add(verified)
    assert environment.store.digests() == [ref.digest]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert not (environment.store.root / "tmp").exists()


def test_nobody_else_makes_verified_values(index, tmp_path):
    entry = index.serve("expert-c", "1.0.0")
    archive = index.archives["expert-c 1.0.0"]
    genuine = verify_archive(archive, entry.archives[0], entry, index.key.public, scratch=tmp_path)
    with pytest.raises(TypeError, match=r"only xpm\.trust"):
        Verified(tmp_path, "sha256:" + "0" * 64, genuine.manifest, seal=object())
    with pytest.raises(TypeError):
        dataclasses.replace(genuine, digest="sha256:" + "0" * 64)


def test_packages_exchanged_in_the_store_are_found(environment):
    install(environment, "a")
    first, second = (find_installed(environment, name).folder for name in ("a", "b"))
    first.rename(first.with_name("moved"))
    second.rename(first)
    first.with_name("moved").rename(second)
    with pytest.raises(IntegrityError, match="in the place of"):
        verify(environment)


def test_a_composition_has_what_its_experts_require(environment):
    install(environment, "a")
    packages = installed(environment)
    for chosen in (named(packages, ["a"]), routed(environment, packages, "alpha", progress=Silent())[1]):
        assert [each.name for each in chosen] == ["expert-b", "expert-a"]
    assert routed(environment, packages, "nothing", progress=Silent())[1] == []


def test_a_lock_that_cannot_be_written_leaves_the_project(environment, monkeypatch):
    before = (environment.folder / "xpm.toml").read_bytes()
    genuine = history.write_atomically

    def fail(path, data):
        if path.name == "xpm.lock":
            raise OSError(28, "No space left on device")
        genuine(path, data)

    monkeypatch.setattr(history, "write_atomically", fail)
    with pytest.raises(OSError, match="No space"):
        install(environment, "a")
    monkeypatch.undo()
    assert (environment.folder / "xpm.toml").read_bytes() == before
    assert not (environment.folder / "xpm.lock").exists()
    assert install(environment, "a").added


def test_a_bad_dependency_keeps_the_store_as_it_was(environment, index):
    path = archive_path("expert-a", "expert-a-xpm-tiny.v1.0.0.expert")
    _tamper(index, path, _flip(_blob(index, path), 50))
    with pytest.raises(IntegrityError):
        install(environment, "a")
    assert environment.store.digests() == []


def test_publishing_at_once_loses_nothing(index, tmp_path):
    archives = {}
    for number in range(6):
        manifest = Manifest(
            {
                "name": f"expert-p{number}",
                "version": "1.0.0",
                "description": "",
                "base_models": [{"name": "xpm-tiny", "sha256": "0" * 64}],
            }
        )
        path = archives[number] = tmp_path / f"p{number}.expert"
        write_archive(path, {"manifest.json": manifest.to_bytes(), "slots.safetensors": SLOTS})
        sign_archive(path, index.key, publisher="acme", created_at="2026-02-01T00:00:00Z")
    home = Home(tmp_path / "home")
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(lambda path: publish(home, str(index.path), [path], keys=index.index_keys.ring), archives.values())
        )
    with BareRepo.open(index.path) as repo:
        names = set(IndexSnapshot.enclosed(repo, repo.head()).names())
    assert {f"expert-p{number}" for number in range(6)} <= names


def test_a_home_that_is_a_file(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="can't be used as xpm's home"), Home(tmp_path / "home").locked():
        pass
