"""Repositories and documents made to cost more than they weigh: each is refused before it is
read, listed or unpacked."""

import hashlib
import json
import subprocess
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from tests.support.packages import make_package
from tests.support.projects import new_project
from xpm.errors import FetchError
from xpm.indexes import Indexes
from xpm.operations import install as operations
from xpm.operations.direct import MAX_ARCHIVES
from xpm.parse_source import parse_source
from xpm.search import Query
from xpm_index import git_objects, git_reading, git_transport, strict_json
from xpm_index.archive import read_archive
from xpm_index.errors import ArchiveError, GitError, IndexFormatError, ManifestError
from xpm_index.git import BareRepo
from xpm_index.git_files import tagged
from xpm_index.keys import SigningKey
from xpm_index.layout import entry_path, publisher_path
from xpm_index.manifest import Manifest


class Forge:
    """Writes objects into a bare repository, made if it is not there, one by one and whatever they hold."""

    def __init__(self, path):
        self.path = path
        if not path.exists():
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)

    def object(self, kind, data):
        whole = f"{kind} {len(data)}\0".encode() + data
        name = hashlib.sha1(whole).hexdigest()
        target = self.path / "objects" / name[:2] / name[2:]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(zlib.compress(whole))
        return name

    def tree(self, entries):
        """``entries``: name → (mode, id)."""
        return self.object(
            "tree", b"".join(f"{mode} {n}\0".encode() + bytes.fromhex(id) for n, (mode, id) in entries.items())
        )

    def commit(self, tree, *, parent=None):
        lines = [
            f"tree {tree}",
            *([f"parent {parent}"] if parent else []),
            "author a <a@b> 0 +0000",
            "committer a <a@b> 0 +0000",
        ]
        return self.object("commit", ("\n".join(lines) + "\n\nm\n").encode())

    def ref(self, name, id):
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(id + "\n")

    def bomb(self, levels=40, *, leaf=True):
        """A folder of 2^levels files, or of folders alone, that takes a few kB."""
        tree = self.tree({"f": ("100644", self.object("blob", b"x"))} if leaf else {})
        for _ in range(levels):
            tree = self.tree({"a": ("40000", tree), "b": ("40000", tree)})
        return tree


@pytest.fixture
def forge(tmp_path):
    return Forge(tmp_path / "evil.git")


@pytest.fixture
def environment(tmp_path):
    return new_project(tmp_path)


def install(environment, text):
    return operations.install(environment, [parse_source(text, folder=environment.folder)])


# Sources


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("levels", [20, 40])
def test_a_tree_that_names_itself_twice_on_every_level(forge, environment, leaf, levels):
    forge.ref("refs/tags/v1", forge.commit(forge.bomb(levels, leaf=leaf)))
    with pytest.raises(GitError, match=r"could not fetch|files and folders|levels deep"):
        install(environment, f"git+file://{forge.path}@v1")


def test_more_archives_than_an_expert_has(forge, environment):
    blob = forge.object("blob", b"x")
    forge.ref("refs/tags/v1", forge.commit(forge.tree({f"{n:05}.expert": ("100644", blob) for n in range(50_000)})))
    with pytest.raises(FetchError, match=r"has 50000 \.expert files") as caught:
        install(environment, f"git+file://{forge.path}@v1")
    assert f"at most {MAX_ARCHIVES}" in caught.value.context
    assert list(environment.home.downloads.iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_publisher_file_without_end(forge, environment, tmp_path, packed):
    make_package(tmp_path / "x.expert", SigningKey.generate())
    blobs = {"publisher.json": bytes(30_000_000), "x.expert": (tmp_path / "x.expert").read_bytes()}
    ids = {name: ("100644", forge.object("blob", data)) for name, data in blobs.items()}
    forge.ref("refs/tags/v1", forge.commit(forge.tree(ids)))
    if packed:
        subprocess.run(["git", "-C", str(forge.path), "repack", "-qad"], check=True)
    with pytest.raises(GitError, match="has more than 1048576 bytes"):
        install(environment, f"git+file://{forge.path}@v1")


def test_a_small_file_that_is_a_delta_of_a_huge_one(forge, tmp_path):
    """What must be inflated on the way counts, not only what comes out."""
    huge, small = forge.object("blob", bytes(80_000_000)), forge.object("blob", b"\1" * 1000)
    forge.ref("refs/heads/main", forge.commit(forge.tree({"h": ("100644", huge), "s": ("100644", small)})))
    delta = _varint(80_000_000) + _varint(255) + b"\x90\xff"
    result = forge.object("blob", bytes(255))
    loose = forge.path / "objects" / result[:2] / result[2:]
    loose.unlink()
    pack = b"PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big")
    pack += bytes([0x70 | len(delta) & 15]) + bytes.fromhex(huge) + zlib.compress(delta)
    with BareRepo.open(forge.path) as repo:
        data = BytesIO(pack + hashlib.sha1(pack).digest())
        repo._repo.object_store.add_thin_pack(data.read, None)
        assert repo._repo.object_store.contains_packed(result.encode())
        with pytest.raises(GitError, match="more than 1000 bytes"):
            repo.read_object(result, max_bytes=1000)
        assert repo.read_object(result, max_bytes=100_000_000) == bytes(255)


def _varint(number):
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def test_sizes_are_told_without_inflating(tmp_path):
    """Of loose objects, whole ones in a pack, and deltas on deltas, as Git packs them."""
    work = tmp_path / "work"
    work.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(work)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    text = "".join(f"line {n} of many\n" for n in range(3000))
    for number in range(12):
        (work / "a.txt").write_text(text.replace(f"line {number * 7} ", f"other {number} ") + "more\n" * number)
        (work / "b.bin").write_bytes(hashlib.sha512(bytes([number])).digest() * (number + 1))
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    subprocess.run([*git, "repack", "-qadf", "--depth=50"], check=True)
    (work / "c.txt").write_text("loose")
    subprocess.run([*git, "hash-object", "-w", "c.txt"], check=True, capture_output=True)
    asked = subprocess.run([*git, "cat-file", "--batch-check", "--batch-all-objects"], check=True, capture_output=True)
    listed = [line.split() for line in asked.stdout.decode().splitlines()]
    assert len(listed) > 40
    with BareRepo.open(work / ".git") as repo:
        store = repo._repo.object_store
        for id, _, size in listed:
            assert git_objects.read_object(store, id.encode(), max_bytes=int(size)).raw_length() == int(size)
            with pytest.raises(GitError, match=f"more than {int(size) - 1} bytes"):
                git_objects.read_object(store, id.encode(), max_bytes=int(size) - 1)


class _Endless(BaseHTTPRequestHandler):
    """Tells of refs without end."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.end_headers()
        self.wfile.write(b"001e# service=git-upload-pack\n0000")
        number = 0
        try:
            while True:
                line = f"{number:040x} refs/tags/{number:020}".encode() + (
                    b"\0 side-band-64k\n" if not number else b"\n"
                )
                self.wfile.write(b"".join([f"{len(line) + 4:04x}".encode(), line]) * (1 if not number else 500))
                number += 1
                self.server.sent += len(line) * 500
        except OSError:
            pass

    def log_message(self, *args):
        pass


def test_refs_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(git_transport, "MAX_REFS_BYTES", 1 << 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endless)
    server.sent = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/x.git"
    try:
        with BareRepo.init(tmp_path / "a.git") as repo, pytest.raises(GitError, match="more refs than fit") as caught:
            repo.fetch(url)
        assert "network" not in str(caught.value.hint)
        with pytest.raises(GitError, match="more refs than fit"), tagged(url, "v1"):
            pass
    finally:
        server.shutdown()
        server.server_close()


# Indexes


@pytest.fixture
def client(tmp_path, index):
    return new_project(tmp_path, index, name="client")


def top(index):
    """The entries of the index's root folder."""
    asked = ["git", "-C", str(index.path), "ls-tree", "main"]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split("\t")[1]: (line.split()[0].lstrip("0"), line.split()[2]) for line in lines}


def with_folders(index, **folders):
    """A commit on the index's branch with some top folders exchanged."""
    forge = Forge(index.path)
    entries = top(index) | {name: ("40000", tree) for name, tree in folders.items()}
    head = index.writer.repo.head()
    forge.ref("refs/heads/main", forge.commit(forge.tree(dict(sorted(entries.items()))), parent=head))


@pytest.mark.parametrize("leaf", [True, False])
def test_an_index_with_a_folder_without_end(index, client, leaf):
    with Indexes(client.home, client.project()) as indexes:
        indexes.update("main")
        accepted = indexes.snapshot("main").commit
        with_folders(index, entries=Forge(index.path).bomb(leaf=leaf))
        with pytest.raises(GitError, match=r"files and folders|levels deep"):
            indexes.update("main")
        assert indexes.snapshot("main").commit == accepted


def test_a_fresh_index_with_a_folder_without_end_is_not_searched(index, client):
    with_folders(index, entries=Forge(index.path).bomb())
    with Indexes(client.home, client.project()) as indexes:
        indexes.update("main")  # nothing vouches for the folder, and nothing has looked at it
        with pytest.raises(GitError, match=r"files and folders|levels deep"):
            indexes.search("main", Query())


@pytest.mark.parametrize(
    "path", [publisher_path("acme"), entry_path("expert-a"), "metadata/timestamp.json", "metadata/2.root.json"]
)
def test_a_file_of_the_index_without_end(index, client, path, monkeypatch):
    monkeypatch.setattr(git_reading, "MAX_TEXT_BYTES", 1 << 20)
    index.writer.repo.commit_files({path: bytes(5_000_000)}, message="m", author="x <x@x>")
    with pytest.raises((GitError, IndexFormatError), match=r"more than 1048576 bytes|metadata is incomplete"):
        operations.install(client, [parse_source("a", folder=client.folder)])
    assert client.store.digests() == []


# Documents


def test_repeated_keys_are_found_in_one_pass():
    keys = [f'"{number}":0' for number in range(100_000)]
    wrong, right = (("{" + ",".join([*keys, last]) + "}").encode() for last in ('"99999":1', '"x":1'))
    start = time.perf_counter()
    strict_json.loads(right, what="it")
    between = time.perf_counter()
    with pytest.raises(ManifestError) as caught:
        strict_json.loads(wrong, what="it")
    assert "duplicate key '99999'" in caught.value.context
    assert time.perf_counter() - between < 20 * (between - start)


def test_a_comment_may_be_repeated_in_a_manifest_and_nothing_else():
    document = {"name": "expert-x", "version": "1.0.0", "base_models": [{"name": "b"}], "training": "HERE"}
    text = json.dumps(document)
    manifest = Manifest.parse(
        text.replace('"HERE"', '{"_comment": "a", "_comment": "b", "_note": 1, "_note": 2}').encode()
    )
    assert manifest.raw["training"] == {"_comment": "b", "_note": 2}
    for inner in ('{"a": 1, "a": 1}', '{"_c": 1, "a": 1, "_c": 2, "a": 2}', '{"": 1, "": 2}'):
        with pytest.raises(ManifestError, match="not valid JSON"):
            Manifest.parse(text.replace('"HERE"', inner).encode())
    with pytest.raises(ManifestError, match="not valid JSON"):
        strict_json.loads(b'{"_c": 1, "_c": 2}', what="an entry")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123\n"
MERGE = b'<<<<<<< HEAD\n{"name": "a"}\n=======\n{"name": "b"}\n>>>>>>> theirs\n'


@pytest.mark.parametrize(
    ("data", "what", "way_out"),
    [
        (LFS, "is a pointer of Git LFS", "git lfs pull"),
        (MERGE, "holds the marks of a merge", "git checkout --ours"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark", "UTF-8"),
        ("{}".encode("utf-16"), "is UTF-16", "UTF-8"),
    ],
)
def test_what_other_programs_left_is_named(data, what, way_out, environment, tmp_path):
    with pytest.raises(ManifestError, match=what) as caught:
        Manifest.parse(data)
    assert way_out in caught.value.hint
    archive = tmp_path / "x.expert"
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=what) as caught:
        list(read_archive(archive))
    assert way_out in caught.value.hint
    for name, command in (("xpm.toml", environment.project), ("xpm.lock", environment.lockfile)):
        path = environment.folder / name
        before = path.read_bytes() if path.is_file() else None
        path.write_bytes(data.replace(b'{"name": "a"}', b"a = 1").replace(b'{"name": "b"}', b"a = 2"))
        with pytest.raises(Exception, match=what) as caught:
            command()
        assert way_out in caught.value.hint
        path.unlink() if before is None else path.write_bytes(before)
