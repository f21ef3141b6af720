"""Indexes: written as Git repositories, read back verified, and updated only by additions."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.git_http import serve_git
from tests.support.packages import SIGNED_AT, VALID_FROM, IndexKeys, make_entry, make_index, make_publisher
from xpm_index.entries import Yanked
from xpm_index.errors import IndexFormatError, PackagingError, TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexInfo, IndexSnapshot
from xpm_index.index_update import check_update
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import archive_path, entry_path, publisher_path
from xpm_index.verified import TufFiles, find_root, newest_fingerprint

AUTHOR = "a <a@b>"


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def writer(tmp_path, key) -> IndexWriter:
    return make_index(tmp_path / "index", key, make_entry(version="1.0.0"), make_entry("expert-xml"))


@pytest.fixture
def entry(key):
    """``entry(name, version, …)``: an entry by the publisher's key."""
    return lambda *args, **values: make_entry(*args, **{"key_id": key.key_id} | values)


def snapshot(repo: BareRepo) -> IndexSnapshot:
    head = repo.head() or ""
    read = repo.reader(head)
    return IndexSnapshot(repo, head, TufFiles(read, root=find_root(read, newest_fingerprint(read))))


def update(repo: BareRepo, old: str, new: str) -> None:
    check_update(repo, old, new, fingerprint=newest_fingerprint(repo.reader(old)))


def put(writer: IndexWriter, path: str, data: bytes) -> str:
    """Commit a file without any of the writer's checks."""
    return writer.repo.commit_files({path: data}, message="m", author=AUTHOR, when=0)


def test_what_was_published_is_read_back(writer, key, entry):
    writer.add_entry(entry(version="1.1.0"))
    index = snapshot(writer.repo)
    assert index.info == IndexInfo(id="test-id", name="test", bin_bits=1)
    assert set(index.names()) == {"expert-sql", "expert-xml"}
    assert index.entries("expert-sql") == tuple(
        replace(make_entry(version=version), key_id=key.key_id) for version in ("1.0.0", "1.1.0")
    )
    assert index.entries("absent") == ()
    assert (index.find("sql"), index.find("expert-sql"), index.find("absent")) == ("expert-sql", "expert-sql", None)


def test_git_itself_finds_nothing_wrong(writer, key, tmp_path, entry):
    path = archive_path("expert-sql", "expert-sql-xpm-tiny.v2.0.0.expert")
    writer.add_entry(entry(version="2.0.0"), blobs={path: b"archive"})
    fsck = ["git", "--git-dir", str(writer.repo.path), "fsck", "--strict", "--full"]
    done = subprocess.run(fsck, capture_output=True, text=True, check=True)
    assert "error" not in done.stdout + done.stderr
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(writer.repo.path), str(clone)], check=True, capture_output=True)
    assert (clone / path).read_bytes() == b"archive"
    assert len((clone / entry_path("expert-sql")).read_bytes().splitlines()) == 2
    assert (clone / publisher_path("acme")).is_file()


def test_the_same_index_has_the_same_commit(tmp_path, key):
    then, keys = datetime(2026, 3, 1, tzinfo=UTC), IndexKeys()
    made = [make_index(tmp_path / name, key, make_entry(), keys=keys, now=lambda: then) for name in ("a", "b")]
    assert made[0].head == made[1].head


@pytest.mark.parametrize("transport", ["file", "http"])
def test_an_index_is_fetched_and_then_only_what_is_new(writer, key, tmp_path, transport, entry):
    mirror = BareRepo.init(tmp_path / "mirror")
    with serve_git(tmp_path) as server:
        url = f"{server.url}/index" if transport == "http" else (tmp_path / "index").as_uri()
        old = mirror.fetch(url)
        mirror.set_head(old)
        writer.add_entry(entry(version="1.1.0"))
        new = mirror.fetch(url)
    update(mirror, old, new)
    mirror.set_head(new)
    assert new == writer.repo.head()
    assert [str(each.version) for each in snapshot(mirror).entries("expert-sql")] == ["1.0.0", "1.1.0"]


def test_a_version_is_published_once_but_may_be_yanked(writer, key, entry):
    with pytest.raises(PackagingError, match=r"expert-sql 1\.0\.0 is published already"):
        writer.add_entry(entry())
    writer.add_entry(entry(yanked=Yanked(reason="broken")))
    (found,) = snapshot(writer.repo).entries("expert-sql")
    assert found.yanked == Yanked(reason="broken")


def test_nothing_is_committed_when_publishing_is_refused(writer, key, entry):
    head, stranger = writer.head, SigningKey.generate()
    with pytest.raises(TrustError, match="is not a key of acme"):
        writer.add_entry(make_entry(version="2.0.0", key_id=stranger.key_id))
    with pytest.raises(TrustError, match="knows no publisher mallory"):
        writer.add_entry(make_entry("expert-new", publisher="mallory", key_id=stranger.key_id))
    with pytest.raises(IndexFormatError, match="changes what"):
        writer.add_entry(entry(load_order=1, yanked=Yanked(reason="x")))
    assert writer.head == head
    head = writer.put_publisher(make_publisher(stranger, namespace="mallory"))
    with pytest.raises(IndexFormatError, match="the name is acme's"):
        writer.add_entry(make_entry(version="2.0.0", publisher="mallory", key_id=stranger.key_id))
    assert writer.head == head


def test_an_entry_that_the_metadata_does_not_vouch_for(writer, entry):
    put(writer, entry_path("expert-evil"), entry("expert-evil").to_line() + b"\n")
    with pytest.raises(TrustError, match="nothing in the index vouches for"):
        snapshot(writer.repo).entries("expert-evil")


def test_an_altered_entry(writer):
    path = entry_path("expert-sql")
    put(writer, path, writer.read(path).replace(b'"load_order":5', b'"load_order":1'))
    with pytest.raises(TrustError, match="is not what the index's metadata promises"):
        snapshot(writer.repo).entries("expert-sql")


def test_an_entry_that_was_taken_away(writer):
    put(writer, "entries", b"a file")
    with pytest.raises(TrustError, match=r"promises .* and does not have it"):
        snapshot(writer.repo).entries("expert-sql")


def test_an_entry_signed_after_its_key_was_revoked(writer, key):
    publisher = make_publisher(key, SigningKey.generate())
    revoked = replace(publisher, keys=(replace(publisher.keys[0], revoked_at=VALID_FROM), publisher.keys[1]))
    writer.put_publisher(revoked)
    with pytest.raises(TrustError, match="is revoked") as caught:
        snapshot(writer.repo).entries("expert-sql")
    assert SIGNED_AT in (caught.value.context or "")


def test_a_publisher_file_under_another_s_name(writer, key):
    writer._commit({publisher_path("other"): make_publisher(key).to_bytes()}, "m")
    with pytest.raises(IndexFormatError, match="the publisher file of other is of acme"):
        snapshot(writer.repo).publisher("other")


def test_an_update_that_only_adds_is_accepted(writer, entry):
    old = writer.head
    writer.add_entry(entry(version="1.1.0"))
    new = writer.add_entry(entry("expert-new"))
    update(writer.repo, old, new)
    update(writer.repo, new, new)


@pytest.mark.parametrize(
    ("path", "data", "error", "reason"),
    [
        (entry_path("expert-sql"), b"", TrustError, "rewrote"),
        (entry_path("expert-sql"), make_entry(version="3.0.0", key_id="k").to_line(), TrustError, "rewrote"),
        ("index.json", IndexInfo(id="other", name="test").to_bytes(), TrustError, "replaced by another"),
        ("index.json", b"{}", IndexFormatError, "id is missing"),
    ],
)
@pytest.mark.parametrize("by", ["a stranger", "the maintainer"])
def test_an_update_that_rewrites_is_refused(writer, path, data, error, reason, by):
    """Without the index's keys nothing vouches for it; and even who has them can't rewrite what was published."""
    old = writer.head
    if by == "a stranger":
        new, error, reason = put(writer, path, data), TrustError, "is not what the index's metadata promises"
    else:
        new = writer._commit({path: data}, "m")
    with pytest.raises(error, match=reason):
        update(writer.repo, old, new)


def test_an_update_that_removes_is_refused(writer):
    old = writer.head
    new = put(writer, "entries", b"a file")
    with pytest.raises(TrustError, match="does not have it"):
        update(writer.repo, old, new)


def test_a_rollback_is_refused(writer, entry):
    old = writer.head
    new = writer.add_entry(entry(version="1.1.0"))
    with pytest.raises(TrustError, match="rolled back"):
        update(writer.repo, new, old)


def test_a_repository_that_is_no_index(tmp_path):
    repo = BareRepo.init(tmp_path / "repo")
    with pytest.raises(IndexFormatError, match="is not an index"):
        IndexWriter.open(tmp_path / "repo")
    repo.commit_files({"README": b""}, message="m", author=AUTHOR)
    with pytest.raises(IndexFormatError, match="is not an index"):
        IndexWriter.open(tmp_path / "repo")
    with pytest.raises(IndexFormatError, match="no root metadata"):
        snapshot(repo)
    with pytest.raises(IndexFormatError, match=r"has no index\.json"):
        IndexSnapshot.enclosed(repo, repo.head())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"format":1,"name":"a"}', "id is missing"),
        (b'{"format":1,"id":"a","name":"A"}', "name: 'A' is not a valid name"),
        (b'{"format":2,"id":"a","name":"a"}', "index a has format 2"),
        (b'{"id":"a","name":"a"}', "format is missing"),
    ],
)
def test_malformed_index_json(data, reason):
    with pytest.raises(IndexFormatError, match=reason):
        IndexInfo.parse(data)


def test_layout():
    assert entry_path("expert-sql") == "entries/bf/expert-sql.jsonl"
    assert publisher_path("acme") == "publishers/acme.json"
    assert archive_path("expert-sql", "a.expert") == "archives/expert-sql/a.expert"
