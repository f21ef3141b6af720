"""Indexes: written as Git repositories, read back verified, and updated only by additions."""

import subprocess
from dataclasses import replace

import pytest

from tests.support.git_http import serve_git
from tests.support.packages import SIGNED_AT, VALID_FROM, make_entry, make_index, make_publisher
from xpm_index.entries import Yanked
from xpm_index.errors import IndexFormatError, PackagingError, SignatureError, TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexInfo, IndexSnapshot, IndexWriter, check_update
from xpm_index.keys import SigningKey
from xpm_index.layout import archive_path, entry_path, publisher_path
from xpm_index.trust import PinnedKeys

AUTHOR = "a <a@b>"


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def writer(tmp_path, key) -> IndexWriter:
    return make_index(tmp_path / "index", key, make_entry(version="1.0.0"), make_entry("expert-xml"))


def snapshot(repo: BareRepo, trust: PinnedKeys | None = None) -> IndexSnapshot:
    return IndexSnapshot(repo, repo.head() or "", trust or PinnedKeys())


def put(writer: IndexWriter, path: str, data: bytes) -> str:
    """Commit a file without any of the writer's checks."""
    return writer.repo.commit_files({path: data}, message="m", author=AUTHOR, when=0)


def test_what_was_published_is_read_back(writer, key):
    writer.add_entry(make_entry(version="1.1.0"), key)
    index = snapshot(writer.repo)
    assert index.info == IndexInfo(id="test-id", name="test")
    assert set(index.names()) == {"expert-sql", "expert-xml"}
    assert index.entries("expert-sql") == tuple(
        replace(make_entry(version=version), key_id=key.key_id) for version in ("1.0.0", "1.1.0")
    )
    assert index.entries("absent") == ()
    assert (index.find("sql"), index.find("expert-sql"), index.find("absent")) == ("expert-sql", "expert-sql", None)


def test_git_itself_finds_nothing_wrong(writer, key, tmp_path):
    path = archive_path("expert-sql", "expert-sql-xpm-tiny.v2.0.0.expert")
    writer.add_entry(make_entry(version="2.0.0"), key, blobs={path: b"archive"})
    fsck = ["git", "--git-dir", str(writer.repo.path), "fsck", "--strict", "--full"]
    done = subprocess.run(fsck, capture_output=True, text=True, check=True)
    assert "error" not in done.stdout + done.stderr
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(writer.repo.path), str(clone)], check=True, capture_output=True)
    assert (clone / path).read_bytes() == b"archive"
    assert len((clone / entry_path("expert-sql")).read_bytes().splitlines()) == 2
    assert (clone / publisher_path("acme")).is_file()


def test_the_same_index_has_the_same_commit(tmp_path, key):
    heads = {make_index(tmp_path / name, key, make_entry()).repo.head() for name in ("a", "b")}
    assert len(heads) == 1


@pytest.mark.parametrize("transport", ["file", "http"])
def test_an_index_is_fetched_and_then_only_what_is_new(writer, key, tmp_path, transport):
    mirror = BareRepo.init(tmp_path / "mirror")
    with serve_git(tmp_path) as server:
        url = f"{server.url}/index" if transport == "http" else (tmp_path / "index").as_uri()
        old = mirror.fetch(url)
        mirror.set_head(old)
        writer.add_entry(make_entry(version="1.1.0"), key)
        new = mirror.fetch(url)
    check_update(mirror, old, new)
    mirror.set_head(new)
    assert new == writer.repo.head()
    assert [str(each.version) for each in snapshot(mirror).entries("expert-sql")] == ["1.0.0", "1.1.0"]


def test_a_version_is_published_once_but_may_be_yanked(writer, key):
    with pytest.raises(PackagingError, match=r"expert-sql 1\.0\.0 is published already"):
        writer.add_entry(make_entry(), key)
    writer.add_entry(make_entry(yanked=Yanked(reason="broken")), key)
    (entry,) = snapshot(writer.repo).entries("expert-sql")
    assert entry.yanked == Yanked(reason="broken")


def test_nothing_is_committed_when_publishing_is_refused(writer, key):
    head, stranger = writer.repo.head(), SigningKey.generate()
    writer_of_other = make_publisher(stranger, namespace="mallory")
    with pytest.raises(TrustError, match="is not a key of acme"):
        writer.add_entry(make_entry(version="2.0.0"), stranger)
    with pytest.raises(TrustError, match="knows no publisher mallory"):
        writer.add_entry(make_entry("expert-new", publisher="mallory"), stranger)
    with pytest.raises(IndexFormatError, match="changes what"):
        writer.add_entry(make_entry(load_order=1, yanked=Yanked(reason="x")), key)
    assert writer.repo.head() == head
    head = writer.add_publisher(writer_of_other, stranger)
    with pytest.raises(IndexFormatError, match="the name is acme's"):
        writer.add_entry(make_entry(version="2.0.0", publisher="mallory"), stranger)
    assert writer.repo.head() == head


def test_an_entry_by_a_key_that_its_publisher_never_had(writer):
    put(writer, entry_path("expert-evil"), make_entry("expert-evil").to_line(SigningKey.generate()) + b"\n")
    with pytest.raises(TrustError, match="is not a key of acme"):
        snapshot(writer.repo).entries("expert-evil")


def test_an_altered_entry(writer, key):
    genuine = make_entry("expert-evil").to_line(key) + b"\n"
    put(writer, entry_path("expert-evil"), genuine.replace(b'"load_order":5', b'"load_order":1'))
    with pytest.raises(SignatureError, match="does not verify"):
        snapshot(writer.repo).entries("expert-evil")


def test_an_entry_signed_after_its_key_was_revoked(writer, key):
    publisher = make_publisher(key, other := SigningKey.generate())
    revoked = replace(publisher, keys=(replace(publisher.keys[0], revoked_at=VALID_FROM), publisher.keys[1]))
    writer.add_publisher(revoked, other)
    with pytest.raises(TrustError, match="is revoked") as caught:
        snapshot(writer.repo).entries("expert-sql")
    assert SIGNED_AT in (caught.value.context or "")


def test_a_publisher_file_under_another_s_name(writer, key):
    put(writer, publisher_path("other"), make_publisher(key).to_bytes(key))
    with pytest.raises(IndexFormatError, match="the publisher file of other is of acme"):
        snapshot(writer.repo).publisher("other")


def test_keys_that_were_replaced_are_refused_by_clients_that_know_the_earlier(writer, key):
    trust = PinnedKeys()
    snapshot(writer.repo, trust).entries("expert-sql")
    thief = SigningKey.generate()
    put(writer, publisher_path("acme"), make_publisher(thief).to_bytes(thief))
    put(writer, entry_path("expert-evil"), make_entry("expert-evil").to_line(thief) + b"\n")
    with pytest.raises(TrustError, match="the keys of acme were replaced"):
        snapshot(writer.repo, trust).entries("expert-evil")
    assert trust.pins == {"acme": (key.key_id,)}


def test_an_update_that_only_adds_is_accepted(writer, key):
    old = writer.repo.head()
    writer.add_entry(make_entry(version="1.1.0"), key)
    new = writer.add_entry(make_entry("expert-new"), key)
    check_update(writer.repo, old, new)
    check_update(writer.repo, new, new)


@pytest.mark.parametrize(
    ("path", "data", "error", "reason"),
    [
        (entry_path("expert-sql"), b"", TrustError, "rewrote"),
        (entry_path("expert-sql"), make_entry(version="3.0.0").to_line(SigningKey.generate()), TrustError, "rewrote"),
        ("index.json", IndexInfo(id="other", name="test").to_bytes(), TrustError, "replaced by another"),
        ("index.json", b"{}", IndexFormatError, "id is missing"),
        ("entries", b"a file", TrustError, "removed"),
    ],
)
def test_an_update_that_rewrites_is_refused(writer, path, data, error, reason):
    old = writer.repo.head()
    new = put(writer, path, data)
    with pytest.raises(error, match=reason):
        check_update(writer.repo, old, new)


def test_a_rollback_is_refused(writer, key):
    old = writer.repo.head()
    new = writer.add_entry(make_entry(version="1.1.0"), key)
    with pytest.raises(TrustError, match="rolled back or rewritten"):
        check_update(writer.repo, new, old)


def test_a_repository_that_is_no_index(tmp_path):
    repo = BareRepo.init(tmp_path / "repo")
    with pytest.raises(IndexFormatError, match="is not an index"):
        IndexWriter.open(tmp_path / "repo")
    repo.commit_files({"README": b""}, message="m", author=AUTHOR)
    with pytest.raises(IndexFormatError, match="is not an index"):
        IndexWriter.open(tmp_path / "repo")
    with pytest.raises(IndexFormatError, match=r"has no index\.json"):
        snapshot(repo)


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
