"""The maintainer's and the publisher's work on an index, on this machine and over smart HTTP."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.git_http import serve_git
from tests.support.packages import SLOTS, make_publisher
from tests.support.projects import Listening
from tests.support.simulator import BASE_DIGEST, LONG_AGO, IndexSimulator
from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.indexes import Indexes
from xpm.operations import indexes as index_operations
from xpm.operations import install as operations
from xpm.operations import maintain, publish
from xpm.operations.options import Options
from xpm.operations.verify_index import verify_index
from xpm.progress import Silent
from xpm.project import Project
from xpm_build.publish_scan import RefusedPackage
from xpm_index.archive import read_manifest, write_archive
from xpm_index.entries import Yanked
from xpm_index.errors import (
    GitError,
    IndexFormatError,
    KeyFileError,
    PackagingError,
    SignatureError,
    StaleIndexError,
    TrustError,
)
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import entry_path
from xpm_index.manifest import Manifest
from xpm_index.metadata import now_utc
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive
from xpm_index.requirements import Requirement
from xpm_index.tuf_keys import Keyring
from xpm_index.versions import Version

WHEN = "2026-03-01T00:00:00Z"


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def environment(environment):
    operations.install(environment, [Requirement.parse("a")])
    return environment


def archive(tmp_path, key, *, name="expert-n", version="1.0.0", publisher="acme", base=BASE_DIGEST):
    """A signed archive that the index does not have."""
    path = tmp_path / f"{name}-{version}.expert"
    manifest = Manifest(
        {
            "name": name,
            "version": version,
            "description": "",
            "base_models": [{"name": "xpm-tiny", "sha256": base.removeprefix("sha256:")}],
        }
    )
    write_archive(path, {"manifest.json": manifest.to_bytes(), "slots.safetensors": SLOTS})
    sign_archive(path, key, publisher=publisher, created_at=WHEN)
    return path


def head(index):
    return IndexWriter.open(index.path).head


def update(environment):
    index_operations.update(environment, "main")


# Publishing and accepting


@pytest.mark.parametrize("transport", ["path", "file", "http"])
def test_with_the_online_key_an_entry_is_in_force(index, home, environment, tmp_path, transport):
    path = archive(tmp_path, index.key)
    online = Keyring([index.index_keys.online])
    subprocess.run(["git", "-C", str(index.path), "config", "http.receivepack", "true"], check=True)
    with serve_git(tmp_path) as server:
        where = {"path": str(index.path), "file": index.url, "http": f"{server.url}/main.git"}[transport]
        done = publish.publish(home, where, [path], keys=online, when=WHEN)
    assert done.branch is None
    assert operations.install(environment, [Requirement.parse("n")], index_options()).added == ("expert-n 1.0.0",)


def index_options():
    return Options(index_max_age=timedelta())


@pytest.mark.parametrize("transport", ["path", "http"])
def test_without_it_the_entry_is_proposed_and_accepted(index, home, environment, tmp_path, transport):
    path = archive(tmp_path, index.key)
    before = head(index)
    subprocess.run(["git", "-C", str(index.path), "config", "http.receivepack", "true"], check=True)
    with serve_git(tmp_path) as server:
        where = str(index.path) if transport == "path" else f"{server.url}/main.git"
        done = publish.publish(home, where, [path], keys=Keyring(), when=WHEN)
        assert done.branch == "publish/expert-n-1.0.0"
        assert head(index) == before
        with pytest.raises(KeyFileError, match="online key is not at hand"):
            maintain.accept(home, where, [done.branch], keys=Keyring())
        assert maintain.accept(home, where, [done.branch], keys=index.index_keys.ring, dry_run=True)
        assert head(index) == before
        (accepted,) = maintain.accept(home, where, [done.branch], keys=index.index_keys.ring)
    assert (accepted.entry.name, accepted.branch) == ("expert-n", None)
    assert operations.install(environment, [Requirement.parse("n")], index_options()).added == ("expert-n 1.0.0",)
    with pytest.raises(PackagingError, match="proposes nothing new"):
        maintain.accept(home, str(index.path), [done.branch], keys=index.index_keys.ring)


def test_an_archive_is_accepted_as_it_is(index, home, environment, tmp_path):
    maintain.accept(home, str(index.path), [str(archive(tmp_path, index.key))], keys=index.index_keys.ring, when=WHEN)
    assert operations.install(environment, [Requirement.parse("n")], index_options()).added == ("expert-n 1.0.0",)


def test_an_archive_in_the_expert_s_own_repository(index, home, environment, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    archive(source, index.key)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(source)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "1"], ["tag", "-a", "-m", "x", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    item = f"git+file://{source}@v1#expert-n-1.0.0.expert"
    (accepted,) = maintain.accept(home, str(index.path), [item], keys=index.index_keys.ring, when=WHEN)
    assert accepted.entry.archives[0].sources == (f"git+file://{source}#v1:expert-n-1.0.0.expert",)
    assert operations.install(environment, [Requirement.parse("n")], index_options()).added == ("expert-n 1.0.0",)


def test_what_may_not_be_published(index, home, tmp_path):
    ring, before = index.index_keys.ring, head(index)
    stranger = SigningKey.generate()
    with pytest.raises(TrustError, match="is not a key of acme"):
        publish.publish(home, str(index.path), [archive(tmp_path, stranger)], keys=ring, when=WHEN)
    with pytest.raises(TrustError, match="knows no publisher mallory"):
        publish.publish(
            home, str(index.path), [archive(tmp_path, index.key, publisher="mallory")], keys=ring, when=WHEN
        )
    with pytest.raises(PackagingError, match="published already"):
        publish.publish(home, str(index.path), [archive(tmp_path, index.key, name="expert-a")], keys=ring, when=WHEN)
    unsigned = tmp_path / "unsigned.expert"
    write_archive(
        unsigned,
        {"manifest.json": Manifest({"name": "x", "version": "1.0.0", "base_models": [{"name": "b"}]}).to_bytes()},
    )
    with pytest.raises(SignatureError, match="is not signed"):
        maintain.accept(home, str(index.path), [str(unsigned)], keys=ring)
    with pytest.raises(NotFoundError, match="no file"):
        publish.publish(home, str(index.path), [tmp_path / "none.expert"], keys=ring)
    with pytest.raises(NotFoundError, match="no index at"):
        publish.publish(home, str(tmp_path / "nowhere"), [unsigned], keys=ring)
    with pytest.raises(GitError, match="has no branch"):
        maintain.accept(home, index.url, ["publish/none-1.0.0"], keys=ring)
    assert head(index) == before


def test_a_branch_that_proposes_another_s_archive(index, home, tmp_path):
    """The branch's entry is right, but the archive that it brings is not what the entry says."""
    path = archive(tmp_path, index.key)
    done = publish.publish(home, str(index.path), [path], keys=Keyring(), when=WHEN)
    writer = IndexWriter.open(index.path)
    commit = writer.repo.branch_head(done.branch)
    blob = done.entry.archives[0].sources[0].removeprefix("blob:")
    line = writer.repo.read_blob(commit, "entries/" + _folder("expert-n") + "/expert-n.jsonl")
    files = {
        blob: archive(tmp_path, SigningKey.generate()).read_bytes(),
        f"entries/{_folder('expert-n')}/expert-n.jsonl": line,
    }
    writer.repo.commit_files(files, message="evil", author="x <x@x>", branch=done.branch)
    before = head(index)
    with pytest.raises(TrustError, match="does not hold"):
        maintain.accept(home, str(index.path), [done.branch], keys=index.index_keys.ring)
    assert head(index) == before


def _folder(name):
    from xpm_index.layout import entry_path

    return entry_path(name).split("/")[1]


def test_yanked_and_taken_back(index, home, environment):
    ring = index.index_keys.ring
    yanked = Yanked(reason="bad data", severity="high", replacement="expert-b")
    publish.set_yanked(home, str(index.path), "a", Version.parse("1.0.0"), yanked, keys=ring)
    update(environment)
    assert operations.sync(environment).updated == ()
    listening = Listening()
    assert operations.update(environment, [], Options(progress=listening)).updated == ()
    assert listening.warnings == ["expert-a 1.0.0 was yanked: bad data; its publisher says to use expert-b"]
    elsewhere = Environment.find(home, environment.folder.parent)
    Project(indexes={"main": index.source}).save(elsewhere.folder)
    with pytest.raises(Exception, match="can't be had"):
        operations.install(Environment.find(home, elsewhere.folder), [Requirement.parse("a")])
    with pytest.raises(UsageError, match="yanked already"):
        publish.set_yanked(home, str(index.path), "a", Version.parse("1.0.0"), yanked, keys=ring)
    publish.set_yanked(home, str(index.path), "expert-a", Version.parse("1.0.0"), None, keys=ring)
    with pytest.raises(NotFoundError, match=r"no a 9\.0\.0"):
        publish.set_yanked(home, str(index.path), "a", Version.parse("9.0.0"), yanked, keys=ring)


# Keys


def test_a_publisher_gets_a_second_key_and_loses_the_first(index, home, environment, tmp_path):
    second, ring = SigningKey.generate(), index.index_keys.ring
    maintain.add_publisher(home, str(index.path), "acme", second.public, keys=ring, when=LONG_AGO)
    publish.publish(home, str(index.path), [archive(tmp_path, second)], keys=ring, when=WHEN)
    maintain.revoke(home, str(index.path), "acme", index.key.key_id, keys=ring, when="2026-04-01T00:00:00Z")
    with pytest.raises(TrustError, match="is revoked"):
        publish.publish(home, str(index.path), [archive(tmp_path, index.key, version="1.1.0")], keys=ring)
    update(environment)
    assert operations.install(environment, [Requirement.parse("n")]).added == ("expert-n 1.0.0",)


def test_a_publisher_needs_the_targets_key(index, home):
    before = head(index)
    with pytest.raises(KeyFileError, match="targets needs 1 of its keys"):
        maintain.add_publisher(
            home, str(index.path), "new", SigningKey.generate().public, keys=Keyring([index.index_keys.online])
        )
    assert head(index) == before


@pytest.mark.parametrize("role", ["root", "targets", "online"])
def test_a_key_is_rotated_and_clients_follow(index, home, environment, tmp_path, role):
    old, new = getattr(index.index_keys, role), SigningKey.generate()
    keys = Keyring([index.index_keys.root, index.index_keys.targets, index.index_keys.online, new])
    fingerprint = maintain.rotate_key(home, str(index.path), role, old=old.key_id, new=new.public, keys=keys)
    assert fingerprint != index.fingerprint
    publish.publish(home, str(index.path), [archive(tmp_path, index.key)], keys=keys, when=WHEN)
    update(environment)
    assert operations.install(environment, [Requirement.parse("n")]).added == ("expert-n 1.0.0",)
    without = [
        key for name in ("root", "targets", "online") if name != role for key in [getattr(index.index_keys, name)]
    ]
    with pytest.raises((KeyFileError, TrustError)):
        maintain.rotate_key(
            home, str(index.path), role, old=new.key_id, new=SigningKey.generate().public, keys=Keyring([old, *without])
        )
    with pytest.raises(TrustError, match="is not a key of"):
        maintain.rotate_key(home, str(index.path), role, old="0" * 16, new=SigningKey.generate().public, keys=keys)


def test_a_threshold_of_root_keys(home, tmp_path):
    for name in ("one", "two", "three"):
        publish.new_key(home, name)
    path = tmp_path / "t.git"
    made = maintain.init_index(home, path, "t", root_keys=("one", "two", "three"), threshold=2)
    assert made.made_keys == ("t-targets", "t-online")
    third = publish.new_key(home, "four").public
    one, two = publish.load_key(home, "one"), publish.load_key(home, "two")
    with pytest.raises(KeyFileError, match="root needs 2 of its keys to sign, 1 are at hand"):
        maintain.rotate_key(home, str(path), "root", old=None, new=third, keys=Keyring([one]))
    maintain.rotate_key(home, str(path), "root", old=one.key_id, new=third, keys=publish.keyring(home))
    assert verify_index(home, str(path)).problems == ()
    with pytest.raises(KeyFileError, match="can't make a threshold of 4"):
        maintain.init_index(home, tmp_path / "u.git", "u", root_keys=("one", "two", "three"), threshold=4)
    assert not (tmp_path / "u.git").exists()
    assert two.key_id in {key for role in verify_index(home, str(path)).roles for key in role.key_ids}


# Time


def test_expiry_is_warned_of_refused_and_healed(index, home, environment, tmp_path):
    listening = Listening()

    def read(days, **options):
        later = now_utc() + timedelta(days=days)
        with Indexes(home, environment.project(), progress=listening, now=lambda: later, **options) as indexes:
            return indexes.snapshot("main").entries("expert-a")

    assert read(20)
    assert listening.warnings == []
    assert read(24)
    assert "expires in" in listening.warnings[0]
    with pytest.raises(StaleIndexError, match="not renewed in time") as caught:
        read(31)
    assert "--allow-stale" in caught.value.hint
    assert read(31, allow_stale=True)
    writer = IndexWriter.open(index.path, keys=index.index_keys.ring, now=lambda: now_utc() + timedelta(days=25))
    assert writer.refresh() == ("timestamp",)
    update(environment)
    assert read(31)
    much_later = IndexWriter.open(index.path, keys=index.index_keys.ring, now=lambda: now_utc() + timedelta(days=300))
    assert set(much_later.refresh()) >= {"timestamp", "snapshot", "targets", "entries", "bins-0", "bins-1"}


def test_a_locked_project_is_installed_from_an_expired_index(environment, home, monkeypatch):
    """The lock decides; nothing newer could change it."""
    monkeypatch.setattr("xpm.indexes.now_utc", lambda: now_utc() + timedelta(days=90))
    elsewhere = Environment.find(Home(home.root.parent / "elsewhere"), environment.folder)
    assert operations.sync(elsewhere, frozen=True).fetched


# History


def test_history_is_dropped_and_clients_follow(index, home, environment, tmp_path):
    before = head(index)
    assert maintain.compact(home, str(index.path), keys=index.index_keys.ring) == 1
    count = ["git", "-C", str(index.path), "rev-list", "--count", "main"]
    commits = subprocess.run(count, capture_output=True, text=True, check=True)
    assert commits.stdout.strip() == "1"
    assert head(index) != before
    update(environment)
    publish.publish(home, str(index.path), [archive(tmp_path, index.key)], keys=index.index_keys.ring, when=WHEN)
    update(environment)
    assert operations.install(environment, [Requirement.parse("n")]).added == ("expert-n 1.0.0",)


def test_dropping_history_needs_the_root_key(index, home):
    with pytest.raises(KeyFileError, match="root needs 1 of its keys"):
        maintain.compact(home, str(index.path), keys=Keyring([index.index_keys.online, index.index_keys.targets]))


# Looking


def test_a_whole_index_is_verified(index, home):
    report = verify_index(home, str(index.path))
    assert (report.num_names, report.num_versions, report.num_archives, report.problems) == (2, 2, 2, ())
    assert report.fingerprint == index.fingerprint
    index.writer.repo.commit_files(
        {"archives/expert-a/expert-a-xpm-tiny.v1.0.0.expert": b"evil"}, message="m", author="x <x@x>"
    )
    assert "was altered" in verify_index(home, str(index.path)).problems[0]


def test_everything_in_an_index_is_looked_at(index, home, tmp_path):
    """What clients never read is seen too: unvouched, in the wrong folder, promised and not there, named by nobody."""
    repo = index.writer.repo
    right = entry_path("expert-a")
    line = index.writer.read(right)
    repo.commit_files(
        {
            "publishers/mallory.json": make_publisher(index.key, namespace="mallory").to_bytes(),
            "publishers/notes.txt": b"x",
            entry_path("expert-evil"): line.replace(b"expert-a", b"expert-evil"),
            "entries/zz/expert-a.jsonl": line,
            "archives/expert-a/other.expert": b"x",
            "metadata/bins-f.json": b"{}",
            "README.md": b"hello",
        },
        message="m",
        author="x <x@x>",
    )
    report = verify_index(home, str(index.path))
    told = "\n".join(report.problems)
    for part in (
        "publishers/mallory.json: nothing in the index vouches for publishers/mallory.json",
        "publishers/notes.txt: no client looks there",
        f"{entry_path('expert-evil')}: nothing in the index vouches for",
        f"entries/zz/expert-a.jsonl: no client looks there; expert-a belongs at {right}",
        "archives/expert-a/other.expert: no entry names it",
        "metadata/bins-f.json: it is no metadata of this index",
    ):
        assert part in told
    assert len(report.problems) == 6
    assert report.others == ("README.md",)
    assert (report.num_names, report.num_publishers) == (2, 1)


def test_what_an_index_promises_and_does_not_have(index, home):
    listed = ["git", "-C", str(index.path), "ls-tree", "main"]
    lines = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.rstrip().endswith("\tentries"))
    make = {"check": True, "capture_output": True, "text": True}
    tree = subprocess.run(["git", "-C", str(index.path), "mktree"], input=kept, **make).stdout.strip()
    commit = ["git", "-C", str(index.path), "-c", "user.name=t", "-c", "user.email=t@x", "commit-tree", tree, "-m", "x"]
    id = subprocess.run(commit, **make).stdout.strip()
    subprocess.run(["git", "-C", str(index.path), "update-ref", "refs/heads/main", id], check=True)
    problems = verify_index(home, str(index.path)).problems
    assert f"{entry_path('expert-a')}: the index's metadata promises it, and it is not there" in problems
    assert any("archives/expert-a/" in each and "no entry names it" in each for each in problems)


def test_an_archive_that_its_publisher_did_not_sign_so(index, home, tmp_path):
    """The entry and the digest agree, but the package says otherwise of itself: a client would refuse it."""
    path = archive(tmp_path, index.key)
    signed = read_manifest(path)
    ref = archive_ref(path, signed)
    entry = replace(
        entry_for(signed, (ref,), publisher="acme", key_id=index.key.key_id, published_at=WHEN), load_order=9
    )
    index.writer.add_entry(entry, blobs={path_in_index(signed): path.read_bytes()})
    (problem,) = verify_index(home, str(index.path)).problems
    assert "the index says otherwise than the publisher of expert-n 1.0.0 signed (load_order differs)" in problem


def test_an_index_is_not_made_over_something(home, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        maintain.init_index(home, tmp_path / "full", "x")
    assert not home.keys.exists()
    with pytest.raises(UsageError, match="bin-bits"):
        maintain.init_index(home, tmp_path / "y", "y", bin_bits=40)


def test_roots_are_confirmed_by_a_person(index, home, environment, tmp_path):
    other = (
        IndexSimulator(tmp_path / "other", name="other", with_base=False)
        if (tmp_path / "other").mkdir() is None
        else None
    )
    before = (environment.folder / "xpm.toml").read_bytes()
    with pytest.raises(TrustError, match="was not confirmed") as caught:
        index_operations.add(environment, "other", other.url, progress=Silent())
    assert other.fingerprint in caught.value.context
    with pytest.raises(TrustError, match="not the one that is trusted"):
        index_operations.add(environment, "other", other.url, progress=Silent(), fingerprint=index.fingerprint)
    assert (environment.folder / "xpm.toml").read_bytes() == before
    asked = []
    index_operations.add(
        environment, "other", other.url, progress=Silent(), confirm=lambda each: asked.append(each) or True
    )
    assert asked == [other.fingerprint]
    assert environment.project().indexes["other"].fingerprint == other.fingerprint


def test_an_index_that_is_there_is_added_again_only_if_it_is_the_same(index, home, environment, tmp_path):
    def again(url=index.url, fingerprint=""):
        return index_operations.add(environment, "main", url, progress=Silent(), fingerprint=fingerprint)

    before = (environment.folder / "xpm.toml").read_bytes()
    assert again().num_names == again(fingerprint=index.fingerprint).num_names == 2
    new = SigningKey.generate()
    keys = Keyring([index.index_keys.root, index.index_keys.targets, index.index_keys.online, new])
    rotated = maintain.rotate_key(
        home, str(index.path), "root", old=index.index_keys.root.key_id, new=new.public, keys=keys
    )
    assert again(fingerprint=rotated).fingerprint == index.fingerprint
    with pytest.raises(TrustError, match="trusted here by another root"):
        again(fingerprint="sha256:" + "0" * 64)
    (tmp_path / "elsewhere").mkdir()
    other = IndexSimulator(tmp_path / "elsewhere", with_base=False)
    with pytest.raises(UsageError, match="an index named main already"):
        again(other.url, other.fingerprint)
    assert (environment.folder / "xpm.toml").read_bytes() == before


def test_an_index_written_by_hand_is_fetched_only_when_confirmed(index, home, tmp_path):
    folder = tmp_path / "by-hand"
    folder.mkdir()
    (folder / "xpm.toml").write_text(f'[indexes]\nmain = "{index.url}"\n')
    environment = Environment.find(home, folder)
    with pytest.raises(TrustError, match="nobody has confirmed") as caught:
        operations.install(environment, [Requirement.parse("a")])
    assert "xpm trust confirm main" in caught.value.hint
    index_operations.confirm_root(
        environment, "main", progress=Silent(), confirm=lambda each: each == index.fingerprint
    )
    assert operations.install(environment, [Requirement.parse("a")]).added == ("expert-a 1.0.0",)
    assert index_operations.publisher(environment, "acme")[1].keys[0].public == index.key.public


def test_a_publisher_file_is_what_makes_a_publisher(index, home):
    with pytest.raises(IndexFormatError, match="has the key"):
        maintain.add_publisher(home, str(index.path), "acme", index.key.public, keys=index.index_keys.ring)
    assert make_publisher(index.key).keys[0].public == index.key.public


# The rules of publishing


def test_what_the_rules_refuse_is_neither_published_nor_accepted(index, home, tmp_path):
    path = archive(tmp_path, index.key)
    manifest = read_manifest(path).with_values(integrity=None)
    write_archive(path, {"manifest.json": manifest.to_bytes(), "slots.safetensors": b"n"})
    sign_archive(path, index.key, publisher="acme", created_at=WHEN)
    before = head(index)
    for keys in (Keyring(), index.index_keys.ring):
        with pytest.raises(RefusedPackage, match="is not published"):
            publish.publish(home, index.url, [path], keys=keys, when=WHEN)
    with pytest.raises(RefusedPackage, match="is not published"):
        maintain.accept(home, index.url, [str(path)], keys=index.index_keys.ring)
    assert head(index) == before
    assert index.writer.repo.branch_head("publish/expert-n-1.0.0") is None


def test_what_the_rules_warn_of_is_told(index, home, tmp_path):
    done = publish.publish(home, index.url, [archive(tmp_path, index.key)], keys=Keyring(), when=WHEN)
    assert {each.rule for each in done.findings} == {"license-missing", "readme-missing"}
