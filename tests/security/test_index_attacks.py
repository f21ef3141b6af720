"""Attacks on an index: each is refused with the error that says so, and changes nothing that the client has.

The attacker can commit what they like to the index's repository; rows say which keys they have besides. A client has
accepted a state before, and fetches the attacker's.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from tests.support.packages import IndexKeys, make_entry, make_index, make_publisher
from xpm.home import Home
from xpm.indexes import Indexes
from xpm.project import IndexSource, Project
from xpm_index.errors import IndexFormatError, StaleIndexError, TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexInfo
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import entry_path, publisher_path
from xpm_index.publishers import Publisher
from xpm_index.tuf_keys import Keyring, KeySigner, to_tuf_key
from xpm_index.verified import newest_fingerprint

T0 = datetime(2026, 3, 1, tzinfo=UTC)
SQL = entry_path("expert-sql")


@dataclass
class World:
    """The index, its keys, and a client that has accepted its present state; ``now`` is the client's clock."""

    root: Path
    writer: IndexWriter
    keys: IndexKeys
    publisher: SigningKey
    fingerprint: str
    accepted: str
    now: datetime = T0

    # What an attacker does

    def commit(self, files: dict[str, bytes]) -> None:
        self.writer.repo.commit_files(files, message="m", author="x <x@x>")

    def read(self, path: str, commit: str | None = None) -> bytes:
        data = self.writer.repo.read_blob(commit or self.writer.head, path)
        assert data is not None, path
        return data

    def metadata(self, role: str) -> Metadata:
        return Metadata.from_bytes(self.read(f"metadata/{role}.json"))

    def sign(self, metadata: Metadata, *keys: SigningKey) -> bytes:
        metadata.signatures.clear()
        for key in keys:
            metadata.sign(KeySigner(key), append=True)
        return metadata.to_bytes()

    def publish(self, **values: object) -> None:
        """The maintainer's own next commit."""
        self.writer.add_entry(make_entry(key_id=self.publisher.key_id, **({"version": "9.0.0"} | values)))

    def with_online_key(self, changes: dict[str, bytes | None]) -> None:
        """Commit entry files (None removes one from the metadata) and sign their bins, the
        snapshot and the timestamp."""
        files: dict[str, bytes] = {}
        snapshot, timestamp = self.metadata("snapshot"), self.metadata("timestamp")
        bins = self.metadata("entries").signed.delegations.succinct_roles
        for path, data in changes.items():
            name = bins.get_role_for_target(path)
            target = Metadata.from_bytes(files.get(f"metadata/{name}.json") or self.read(f"metadata/{name}.json"))
            target.signed.targets.pop(path, None)
            if data is not None:
                target.signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
                files[path] = data
            target.signed.version += 1
            files[f"metadata/{name}.json"] = self.sign(target, self.keys.online)
            snapshot.signed.meta[f"{name}.json"] = MetaFile(target.signed.version)
        self.finish(files, snapshot, timestamp)

    def finish(self, files: dict[str, bytes], snapshot: Metadata[Snapshot], timestamp: Metadata[Timestamp]) -> None:
        snapshot.signed.version += 1
        timestamp.signed.version += 1
        timestamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
        files["metadata/snapshot.json"] = self.sign(snapshot, self.keys.online)
        files["metadata/timestamp.json"] = self.sign(timestamp, self.keys.online)
        self.commit(files)

    def alter(self, role: str, change: Callable[[Metadata], None], *keys: SigningKey) -> None:
        """Change one role's metadata, sign it with ``keys``, and let snapshot and timestamp
        follow with the online key."""
        metadata = self.metadata(role)
        change(metadata)
        if role in ("snapshot", "timestamp"):
            self.commit({f"metadata/{role}.json": self.sign(metadata, *keys)})
            return
        metadata.signed.version += 1
        snapshot = self.metadata("snapshot")
        snapshot.signed.meta[f"{role}.json"] = MetaFile(metadata.signed.version)
        self.finish({f"metadata/{role}.json": self.sign(metadata, *keys)}, snapshot, self.metadata("timestamp"))

    def new_root(self, change: Callable[[Root], None], *keys: SigningKey) -> None:
        number = 1
        while self.writer.repo.read_blob(self.writer.head, f"metadata/{number + 1}.root.json"):
            number += 1
        root = Metadata[Root].from_bytes(self.read(f"metadata/{number}.root.json"))
        root.signed.version += 1
        change(root.signed)
        self.commit({f"metadata/{number + 1}.root.json": self.sign(root, *keys)})

    # What the client does

    def project(self) -> Project:
        return Project(indexes={"main": IndexSource(url=self.writer.repo.path.as_uri(), fingerprint=self.fingerprint)})

    def update(self) -> None:
        """Fetch, and read what was changed: what an attack gets past the one, it must not get past the other."""
        with Indexes(Home(self.root / "home"), self.project(), now=lambda: self.now) as indexes:
            indexes.update("main")
            for name in ("expert-sql", "expert-xml", "expert-evil"):
                indexes.entries(name)
            indexes.snapshot("main").publisher("acme")

    def head(self) -> str | None:
        """What the client has accepted, in the copy of the root that it trusts or in any other."""
        heads = set()
        for copy in (self.root / "home" / "indexes").glob("main-*.git"):
            with BareRepo.open(copy) as repo:
                heads.add(repo.head())
        (head,) = heads - {None}
        return head


@pytest.fixture
def world(tmp_path):
    key, keys = SigningKey.generate(), IndexKeys()
    writer = make_index(
        tmp_path / "index.git",
        key,
        make_entry(),
        make_entry("expert-xml"),
        make_entry(version="1.1.0"),
        keys=keys,
        now=lambda: T0,
    )
    made = World(tmp_path, writer, keys, key, newest_fingerprint(writer.read), "")
    made.update()
    made.accepted = made.head() or ""
    yield made
    writer.repo.close()


Attack = Callable[[World], object]


def later(days: int) -> Attack:
    def wait(world: World) -> None:
        world.now = T0 + timedelta(days=days)

    return wait


def old(*paths: str) -> Attack:
    """Put earlier versions of files into a commit on top of a newer state that the client has accepted."""

    def attack(world: World) -> None:
        before = {path: world.read(path) for path in paths}
        world.publish()
        world.update()
        world.accepted = world.writer.head
        world.commit(before)

    return attack


def set_back(world: World) -> None:
    before = world.writer.head
    world.publish()
    world.update()
    world.accepted = world.writer.head
    world.writer.repo.set_head(before)


def rewritten(world: World) -> None:
    world.publish()
    world.writer.repo.commit_files({"x": b""}, message="m", author="x <x@x>", orphan=True)


def another_index(world: World) -> None:
    other = make_index(world.root / "other.git", SigningKey.generate(), make_entry(), now=lambda: T0)
    files = {path: other.read(path) for path in other.repo.list_tree(other.head, "") if path.startswith("metadata/")}
    world.commit({path: data for path, data in files.items() if data is not None})


def expired(role: str) -> Attack:
    """Everything is fresh but one role, which ran out while the index went on."""

    def attack(world: World) -> None:
        key = {"targets": world.keys.targets, "entries": world.keys.targets}.get(role, world.keys.online)
        world.alter(role, lambda metadata: setattr(metadata.signed, "expires", T0 - timedelta(days=1)), key)

    return attack


def expired_root(world: World) -> None:
    world.new_root(lambda root: setattr(root, "expires", T0 - timedelta(days=1)), world.keys.root)


def missing(path: str) -> Attack:
    return lambda world: world.commit({"metadata" if path == "metadata" else path + "/gone": b""})


def garbage(role: str, data: bytes = b"{") -> Attack:
    return lambda world: world.commit({f"metadata/{role}.json": data})


def as_another_role(world: World) -> None:
    world.commit({"metadata/timestamp.json": world.read("metadata/snapshot.json")})


def wrong_spec(world: World) -> None:
    def change(metadata: Metadata) -> None:
        metadata.signed.spec_version = "9.0.0"
        metadata.signed.version += 1

    world.alter("timestamp", change, world.keys.online)


def signed_by(role: str, key: str) -> Attack:
    """A new version of a role's metadata, signed with a key that is not the role's, or with none."""

    def attack(world: World) -> None:
        keys = {"publisher": (world.publisher,), "nobody": ()}.get(key) or (
            (getattr(world.keys, key),) if key != "nobody" else ()
        )

        def change(metadata: Metadata) -> None:
            if role in ("snapshot", "timestamp"):
                metadata.signed.version += 1

        world.alter(role, change, *keys)

    return attack


def root_by(old_key: bool, new_key: bool) -> Attack:
    """A root that hands over to a new key, signed by the old one only, by the new one only, or by neither."""

    def attack(world: World) -> None:
        thief = SigningKey.generate()

        def change(root: Root) -> None:
            root.revoke_key(world.keys.root.key_id, "root")
            root.add_key(to_tuf_key(thief.public), "root")

        world.new_root(change, *([world.keys.root] if old_key else []), *([thief] if new_key else []))

    return attack


def one_key_twice(world: World) -> None:
    """A threshold of two, met by one key under two ids."""
    second = SSlibKey("f" * 16, "ed25519", "ed25519", {"public": world.keys.root.public.text[8:]})

    def change(root: Root) -> None:
        root.add_key(second, "root")
        root.roles["root"].threshold = 2

    world.new_root(change, world.keys.root)


def raised_epoch(world: World) -> None:
    """An epoch without the root key, to get a rewritten history accepted."""
    world.new_root(lambda root: root.unrecognized_fields.update({"x-xpm-epoch": 1}), world.keys.online)
    world.writer.repo.commit_files({"x": b""}, message="m", author="x <x@x>", orphan=True)


def online_key_for_root(world: World) -> None:
    world.new_root(lambda root: root.add_key(to_tuf_key(world.keys.online.public), "targets"), world.keys.online)


def publisher_in_a_bin(world: World) -> None:
    """The online key vouches for a publisher file that holds the thief's key."""
    thief = make_publisher(SigningKey.generate()).to_bytes()
    world.with_online_key({publisher_path("acme"): thief})


def publisher_replaced(world: World) -> None:
    world.commit({publisher_path("acme"): make_publisher(SigningKey.generate()).to_bytes()})


def new_publisher(world: World) -> None:
    """A publisher of the thief's own, and an expert by them."""
    thief = SigningKey.generate()
    entry = make_entry("expert-evil", publisher="mallory", key_id=thief.key_id)
    publisher = Publisher(namespace="mallory", keys=make_publisher(thief).keys)
    world.with_online_key(
        {entry_path("expert-evil"): entry.to_line() + b"\n", publisher_path("mallory"): publisher.to_bytes()}
    )


def entry_by(
    key_of: Callable[[World], str], name: str = "expert-evil", path: str | None = None, **values: object
) -> Attack:
    """An entry that the online key vouches for."""

    def attack(world: World) -> None:
        where = path or entry_path(name)
        before = world.read(where) if where == SQL else b""
        entry = make_entry(name, **({"key_id": key_of(world)} | values))
        world.with_online_key({where: before + entry.to_line() + b"\n"})

    return attack


def genuine(world: World) -> str:
    return world.publisher.key_id


def foreign(world: World) -> str:
    return "0" * 16


def revoked(world: World) -> None:
    publisher = make_publisher(world.publisher).without_key(world.publisher.key_id, at="2026-02-20T00:00:00Z")
    world.writer.put_publisher(publisher)
    entry_by(genuine, published_at="2026-02-25T00:00:00Z")(world)


def not_yet_valid(world: World) -> None:
    entry_by(genuine, published_at="2025-06-01T00:00:00Z")(world)


def out_of_date_key(world: World) -> None:
    publisher = make_publisher(world.publisher)
    ended = replace(publisher, keys=(replace(publisher.keys[0], valid_until="2026-02-20T00:00:00Z"),))
    world.writer.put_publisher(ended)
    entry_by(genuine, published_at="2026-02-25T00:00:00Z")(world)


def truncated_entry(world: World) -> None:
    world.with_online_key({SQL: world.read(SQL)[:40]})


def shortened_entries(world: World) -> None:
    world.with_online_key({SQL: world.read(SQL).splitlines(keepends=True)[0]})


def reordered_entries(world: World) -> None:
    world.with_online_key({SQL: b"".join(reversed(world.read(SQL).splitlines(keepends=True)))})


def unlisted_entries(world: World) -> None:
    world.with_online_key({SQL: None})


def other_bytes(world: World) -> None:
    """What an old version is made of, changed in a later line."""
    line = json.loads(world.read(SQL).splitlines()[0])
    line["archives"][0]["digest"] = "sha256:" + "e" * 64
    world.with_online_key({SQL: world.read(SQL) + json.dumps(line, sort_keys=True).encode() + b"\n"})


def other_id(world: World) -> None:
    world.writer._commit({"index.json": IndexInfo(id="other", name="test").to_bytes()}, "m")


def other_format(world: World) -> None:
    world.writer._commit({"index.json": b'{"format":2,"id":"test-id","name":"test"}'}, "m")


def no_index_json(world: World) -> None:
    world.commit({"index.json/gone": b""})


def stored_unvouched(world: World) -> None:
    world.commit({SQL: world.read(SQL) + make_entry(version="6.6.6", key_id=genuine(world)).to_line() + b"\n"})


def swapped_bins(world: World) -> None:
    zero, one = world.read("metadata/bins-0.json"), world.read("metadata/bins-1.json")
    world.commit({"metadata/bins-0.json": one, "metadata/bins-1.json": zero})


def delegated_elsewhere(world: World) -> None:
    """The online key can't widen what it is trusted for."""
    entries = world.metadata("entries")
    entries.signed.delegations.succinct_roles.keyids = [world.publisher.key_id]
    entries.signed.delegations.keys = {world.publisher.key_id: to_tuf_key(world.publisher.public)}
    entries.signed.version += 1
    snapshot = world.metadata("snapshot")
    snapshot.signed.meta["entries.json"] = MetaFile(entries.signed.version)
    world.finish(
        {"metadata/entries.json": world.sign(entries, world.keys.online)}, snapshot, world.metadata("timestamp")
    )


def snapshot_without_a_bin(world: World) -> None:
    snapshot = world.metadata("snapshot")
    del snapshot.signed.meta["bins-0.json"]
    del snapshot.signed.meta["bins-1.json"]
    world.finish({}, snapshot, world.metadata("timestamp"))


def another_root(world: World) -> None:
    world.fingerprint = "sha256:" + "a" * 64


def altered_root(world: World) -> None:
    world.commit({"metadata/1.root.json": world.read("metadata/1.root.json").replace(b'"version":1', b'"version": 1')})


ROLLED = "rolled back|older than before|inconsistent"
UNSIGNED = "not signed by the keys"
ROWS = [
    # Rollback
    pytest.param(set_back, TrustError, ROLLED, id="the branch is set back"),
    pytest.param(rewritten, TrustError, "rolled back|promises|incomplete", id="history is rewritten"),
    pytest.param(old("metadata/timestamp.json"), TrustError, ROLLED, id="an older timestamp"),
    pytest.param(old("metadata/timestamp.json", "metadata/snapshot.json"), TrustError, ROLLED, id="an older snapshot"),
    pytest.param(old("metadata/snapshot.json"), TrustError, ROLLED, id="an older snapshot under a newer timestamp"),
    pytest.param(old("metadata/bins-0.json", "metadata/bins-1.json"), TrustError, ROLLED, id="older bins"),
    pytest.param(old(SQL), TrustError, "not what the index's metadata promises", id="an older entry file"),
    # Freeze
    pytest.param(later(31), StaleIndexError, "not renewed in time", id="an expired timestamp"),
    pytest.param(expired("timestamp"), StaleIndexError, "not renewed in time", id="a timestamp that came expired"),
    pytest.param(expired("targets"), StaleIndexError, "not renewed in time", id="expired targets"),
    pytest.param(expired("entries"), StaleIndexError, "not renewed in time", id="expired entries"),
    pytest.param(expired("bins-0"), StaleIndexError, "not renewed in time", id="an expired bin"),
    pytest.param(expired_root, StaleIndexError, "not renewed in time", id="an expired root"),
    # Mix and match
    pytest.param(another_index, TrustError, "one of its roots", id="the metadata of another index"),
    pytest.param(swapped_bins, TrustError, "promises|older|inconsistent|signed", id="one bin in the place of another"),
    pytest.param(snapshot_without_a_bin, TrustError, "inconsistent|older", id="a snapshot that leaves bins out"),
    # Missing and malformed
    *[
        pytest.param(
            missing(f"metadata/{role}.json"), (TrustError, IndexFormatError), "incomplete|roots", id=f"no {role}"
        )
        for role in ("timestamp", "snapshot", "targets", "1.root")
    ],
    *[
        pytest.param(garbage(role), TrustError, "inconsistent|roots|promises", id=f"garbage as {role}")
        for role in ("timestamp", "snapshot", "targets", "entries", "1.root")
    ],
    pytest.param(garbage("timestamp", b" " * 20_000), TrustError, "more than its limit", id="an endless timestamp"),
    pytest.param(garbage("2.root", b" " * 600_000), TrustError, "more than its limit", id="an endless root"),
    pytest.param(garbage("timestamp", b"[]"), TrustError, "inconsistent", id="a timestamp that is no object"),
    pytest.param(garbage("timestamp", b"\xff\xfe"), TrustError, "inconsistent", id="a timestamp that is no text"),
    pytest.param(as_another_role, TrustError, "inconsistent|limit", id="a snapshot as timestamp"),
    pytest.param(wrong_spec, TrustError, "inconsistent", id="another version of the specification"),
    pytest.param(no_index_json, TrustError, "promises", id="no index.json"),
    pytest.param(other_format, IndexFormatError, "has format 2", id="another format"),
    # Signatures
    *[
        pytest.param(signed_by(role, key), TrustError, UNSIGNED, id=f"{role} signed by {key}")
        for role, key in (
            ("timestamp", "nobody"),
            ("timestamp", "targets"),
            ("timestamp", "root"),
            ("timestamp", "publisher"),
            ("snapshot", "nobody"),
            ("snapshot", "targets"),
            ("targets", "online"),
            ("targets", "publisher"),
            ("targets", "nobody"),
            ("entries", "online"),
            ("entries", "nobody"),
        )
    ],
    pytest.param(delegated_elsewhere, TrustError, UNSIGNED, id="the online key delegates"),
    # Roots
    pytest.param(root_by(True, False), TrustError, UNSIGNED, id="a root signed by the old key only"),
    pytest.param(root_by(False, True), TrustError, UNSIGNED, id="a root signed by the new key only"),
    pytest.param(root_by(False, False), TrustError, UNSIGNED, id="a root signed by nobody"),
    pytest.param(one_key_twice, TrustError, "signed by the keys|inconsistent", id="one key counted twice"),
    pytest.param(
        raised_epoch, TrustError, "signed by the keys|incomplete|roots", id="an epoch raised without the root key"
    ),
    pytest.param(online_key_for_root, TrustError, UNSIGNED, id="a root signed by the online key"),
    pytest.param(altered_root, TrustError, "altered one of its roots", id="a root altered in place"),
    pytest.param(another_root, TrustError, "not the one that is trusted", id="another fingerprint"),
    # With the online key stolen
    pytest.param(
        publisher_replaced, TrustError, "not what the index's metadata promises", id="a publisher is replaced"
    ),
    pytest.param(
        new_publisher, TrustError, "nothing in the index vouches for publishers", id="a publisher of the thief's own"
    ),
    pytest.param(entry_by(foreign), TrustError, "is not a key of acme", id="an entry by a key that is no publisher's"),
    pytest.param(revoked, TrustError, "is revoked", id="an entry by a revoked key"),
    pytest.param(not_yet_valid, TrustError, "not valid then", id="an entry from before its key was valid"),
    pytest.param(out_of_date_key, TrustError, "not valid then", id="an entry by a key out of date"),
    pytest.param(truncated_entry, TrustError, "rewrote", id="an entry file cut off"),
    pytest.param(shortened_entries, TrustError, "rewrote", id="a published version removed"),
    pytest.param(reordered_entries, TrustError, "rewrote", id="entries in another order"),
    pytest.param(unlisted_entries, TrustError, "no longer vouches for", id="a name removed from the metadata"),
    pytest.param(other_bytes, IndexFormatError, "changes what", id="other bytes for a published version"),
    pytest.param(
        entry_by(genuine, "expert-sql", version="7.0.0", publisher="mallory"),
        IndexFormatError,
        "the name is acme's",
        id="a name taken over by another publisher",
    ),
    pytest.param(
        entry_by(genuine, "expert-sql", path=entry_path("expert-evil")),
        IndexFormatError,
        "is of expert-sql",
        id="an entry under another name",
    ),
    pytest.param(
        stored_unvouched, TrustError, "not what the index's metadata promises", id="a line that nothing vouches for"
    ),
    # With all keys stolen
    pytest.param(other_id, TrustError, "replaced by another", id="another index with the same keys"),
]


@pytest.mark.parametrize(("attack", "error", "told"), ROWS)
def test_attack(world, attack, error, told):
    attack(world)
    with pytest.raises(error, match=told) as caught:
        world.update()
    assert caught.value.exit_code in (5, 6)
    assert caught.value.hint or caught.value.context
    assert world.head() == world.accepted


def test_what_is_refused_when_fetched_leaves_the_accepted_state(world):
    """The client goes on with what it has."""
    world.commit({SQL: b"evil"})
    with pytest.raises(TrustError):
        world.update()
    assert world.head() == world.accepted
    with Indexes(Home(world.root / "home"), world.project(), now=lambda: T0) as indexes:
        assert len(indexes.entries("expert-sql")[1]) == 2


def test_a_publisher_in_a_bin_is_never_read(world):
    """The online key can put a file there, but nobody looks for publishers in bins."""
    publisher_in_a_bin(world)
    with pytest.raises(TrustError):
        world.update()


def test_there_are_many():
    assert len(ROWS) >= 60


def test_the_attacks_start_from_a_state_that_is_accepted(world):
    world.publish()
    world.update()
    assert world.head() == world.writer.head
    world.with_online_key(
        {entry_path("expert-evil"): make_entry("expert-evil", key_id=genuine(world)).to_line() + b"\n"}
    )
    world.update()
    assert world.head() == world.writer.head
    ring = Keyring([world.keys.root, world.keys.targets, world.keys.online])
    IndexWriter.open(world.writer.repo.path, keys=ring, now=lambda: T0).refresh()
    world.update()
    assert isinstance(world.metadata("targets").signed, Targets)
