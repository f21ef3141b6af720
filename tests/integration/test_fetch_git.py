"""Files at a tag of real Git repositories: over file:// and smart HTTP, whole or partial clones,
with and without Git LFS."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fetching import DATA, OTHER, digest_of, fetch, isolate, partial, store_login, told, wanted
from tests.support.git_http import serve_git
from tests.support.lfs_server import pointer_to, serve_lfs
from xpm.errors import FetchError
from xpm_index.errors import GitError, IntegrityError, XpmError
from xpm_index.git_files import tagged
from xpm_index.urls import InvalidUrl

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.hooksPath=/dev/null")


def files_at(url, tag):
    with tagged(url, tag) as tree:
        return {path: b"".join(tree.chunks(path)) for path in tree.paths()}


def file_at(url, tag, path):
    with tagged(url, tag) as tree:
        return b"".join(tree.chunks(path))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    return isolate(monkeypatch, tmp_path / "home")


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "downloads"


class Publisher:
    """A repository of a publisher, made by Git itself; ``release`` commits files and tags them."""

    def __init__(self, root: Path) -> None:
        self.work, self.bare = root / "work", root / "served" / "expert.git"
        self.work.mkdir()
        self.git("init", "-q", "-b", "main")
        self.bare.parent.mkdir()
        subprocess.run(["git", "init", "-q", "--bare", str(self.bare)], check=True)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *IDENTITY, *arguments], cwd=self.work, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    def release(self, tag: str, files: dict[str, bytes], *, light: bool = False) -> str:
        for name, content in files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_bytes(content)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", tag)
        self.git("tag", tag) if light else self.git("tag", "-a", "-m", tag, tag)
        self.git("push", "-q", str(self.bare), "main", "--tags", "--force")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def publisher(tmp_path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture(params=["file", "http", "partial"])
def url(request, publisher):
    if request.param == "file":
        yield publisher.bare.as_uri()
        return
    if request.param == "partial":
        subprocess.run(["git", "-C", str(publisher.bare), "config", "uploadpack.allowFilter", "true"], check=True)
    with serve_git(publisher.bare.parent) as server:
        yield f"{server.url}/expert.git"


@pytest.fixture
def lfs():
    with serve_lfs() as server:
        yield server


@pytest.mark.parametrize("light", [True, False])
def test_an_archive_at_a_tag(publisher, url, folder, light):
    publisher.release("v1.0.0", {"dist/a.expert": DATA}, light=light)
    publisher.release("releases/expert-a@1.1.0", {"dist/a.expert": OTHER})
    assert fetch(
        folder,
        wanted(f"git+{url}#v1.0.0:dist/a.expert"),
        wanted(f"git+{url}#releases/expert-a@1.1.0:dist/a.expert", data=OTHER),
    ) == [DATA, OTHER]
    assert sorted(path.name for path in folder.iterdir()) == sorted(map(digest_of, (DATA, OTHER)))


def test_only_the_wanted_file_comes_if_the_server_can_leave_others_out(publisher, folder):
    publisher.release("v1", {"a.expert": DATA[:1000], "b.expert": OTHER})
    subprocess.run(["git", "-C", str(publisher.bare), "config", "uploadpack.allowFilter", "true"], check=True)
    with (
        serve_git(publisher.bare.parent) as server,
        tagged(f"{server.url}/expert.git", "v1", max_bytes=100_000) as tree,
    ):
        assert tree.read("a.expert") == DATA[:1000]
        with pytest.raises(GitError):
            tree.read("b.expert")
    subprocess.run(["git", "-C", str(publisher.bare), "config", "uploadpack.allowFilter", "false"], check=True)
    with (
        serve_git(publisher.bare.parent) as server,
        pytest.raises(GitError, match="the remote sends"),
        tagged(f"{server.url}/expert.git", "v1", max_bytes=100_000),
    ):
        pass


@pytest.mark.parametrize(
    ("tag", "path", "said"),
    [("v9", "a.expert", "has no tag 'v9'"), ("v1", "none.expert", "there is no none.expert at v1")],
)
def test_what_is_not_there(publisher, url, folder, tag, path, said):
    publisher.release("v1", {"a.expert": DATA})
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#{tag}:{path}"))
    assert said in told(caught)


def test_other_bytes_than_promised(publisher, url, folder):
    publisher.release("v1", {"a.expert": OTHER, "long.expert": DATA + b"x"})
    with pytest.raises(IntegrityError, match="was altered"):
        fetch(folder, wanted(f"git+{url}#v1:a.expert"))
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#v1:long.expert"))
    assert "has more than 3000000 bytes" in told(caught)


def test_a_repository_on_this_machine_is_read_offline(publisher, folder):
    publisher.release("v1", {"a.expert": DATA})
    assert fetch(folder, wanted(f"git+{publisher.bare.as_uri()}#v1:a.expert"), offline=True) == [DATA]


def test_a_private_repository(publisher, folder, home):
    publisher.release("v1", {"a.expert": DATA})
    with serve_git(publisher.bare.parent, login="me:secret") as server:
        source = f"git+{server.url}/expert.git#v1:a.expert"
        with pytest.raises(FetchError) as caught:
            fetch(folder, wanted(source))
        assert "wants a login" in told(caught)
        store_login(home, server.url, "me:secret")
        assert fetch(folder, wanted(source)) == [DATA]


def test_the_folder_of_an_unpacked_expert(publisher, url):
    files = {"experts/sql/manifest.json": b"{}", "experts/sql/a/weights": DATA, "experts/sql/.gitattributes": b"x"}
    commit = publisher.release("v1", {**files, "README.md": b"about"})
    assert files_at(url, "v1") == {**files, "README.md": b"about"}
    with tagged(url, "v1") as tree:
        assert tree.commit == commit
        assert tree.paths("experts/sql") == [
            "experts/sql/.gitattributes",
            "experts/sql/a/weights",
            "experts/sql/manifest.json",
        ]
        assert tree.paths("experts/none") == []
        with pytest.raises(GitError, match="more than 1000000 bytes"):
            list(tree.chunks("experts/sql/a/weights", max_bytes=1_000_000))


def test_links_submodules_hooks_and_filters_do_nothing(publisher, url, tmp_path):
    mark = tmp_path / "ran"
    (publisher.work / "link").symlink_to("/etc/passwd")
    publisher.release("v0", {"a": b"a"})
    publisher.git("update-index", "--add", "--cacheinfo", f"160000,{publisher.git('rev-parse', 'HEAD')},sub")
    publisher.release("v1", {".gitattributes": b"* filter=evil\n", ".gitmodules": b'[submodule "sub"]\n'})
    subprocess.run(
        ["git", "config", "--global", "filter.evil.smudge", f"touch {mark}"], check=True, capture_output=True
    )
    assert {path: data for path, data in files_at(url, "v1").items() if not path.startswith(".")} == {"a": b"a"}
    with pytest.raises(GitError, match="has no file 'link'"):
        file_at(url, "v1", "link")
    assert not mark.exists()


@pytest.mark.parametrize(
    "bad", ["--upload-pack=touch x", "git://example.org/x", "ext::sh -c x", "http://example.org/x.git"]
)
def test_urls_that_are_not_followed(bad):
    with pytest.raises(InvalidUrl):
        file_at(bad, "v1", "a")
    with pytest.raises(InvalidUrl):
        file_at("file:///tmp/x", "--exec=x", "a")


def test_an_lfs_pointer_is_followed_and_the_download_gone_on_with(publisher, url, folder, lfs):
    pointer = lfs.put(DATA, cuts=[1_000_000])
    publisher.release("v1", {"a.expert": pointer, ".lfsconfig": f"[lfs]\n\turl = {lfs.url}\n".encode()})
    assert fetch(folder, wanted(f"git+{url}#v1:a.expert")) == [DATA]
    assert [request.status for request in lfs.storage.requests] == [200, 206]
    assert lfs.storage.sent == len(DATA)
    assert file_at(url, "v1", "a.expert") == DATA


def test_lfs_logins_stay_where_they_belong(publisher, url, folder, lfs, home):
    lfs.login, lfs.token = "me:secret", "t0ken"
    publisher.release("v1", {"a.expert": lfs.put(DATA), ".lfsconfig": f"[lfs]\n\turl = {lfs.url}\n".encode()})
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#v1:a.expert"))
    assert "wants a login" in told(caught)
    store_login(home, lfs.url, "me:secret")
    assert fetch(folder, wanted(f"git+{url}#v1:a.expert")) == [DATA]
    assert lfs.storage.requests[0].headers["Authorization"] == "Bearer t0ken"
    lfs.storage.pages.clear()
    lfs.put(OTHER, answers=[(403, {})])
    publisher.release("v2", {"a.expert": pointer_to(OTHER)})
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#v2:a.expert", data=OTHER))
    assert "403" in told(caught)
    assert not any(secret in told(caught) for secret in ("t0ken", "signed", "me:secret"))


@pytest.mark.parametrize("altered", [DATA[:-1] + b"x", DATA[:100], DATA + b"more"], ids=["other", "short", "long"])
def test_lfs_sends_something_else(publisher, url, folder, lfs, altered):
    lfs.put(DATA, instead=altered)
    publisher.release("v1", {"a.expert": pointer_to(DATA), ".lfsconfig": f"[lfs]\n\turl = {lfs.url}\n".encode()})
    with pytest.raises(XpmError):
        fetch(folder, wanted(f"git+{url}#v1:a.expert"))
    assert not (folder / digest_of(DATA)).exists()
    assert not partial(folder).exists()
    with pytest.raises(IntegrityError, match="other bytes than its pointer promises"):
        file_at(url, "v1", "a.expert")


def test_lfs_pointers_that_lead_nowhere(publisher, url, folder, lfs):
    config = {".lfsconfig": f"[lfs]\n\turl = {lfs.url}\n".encode()}
    publisher.release("v1", {"a.expert": pointer_to(DATA), **config})
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#v1:a.expert"))
    assert "Object does not exist" in told(caught)
    lfs.oversized = True
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#v1:a.expert"))
    assert "sent more than" in told(caught)
    large = pointer_to(DATA).replace(b"size 3000000", b"size 3000001")
    publisher.release("v2", {"a.expert": large})
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{url}#v2:a.expert"))
    assert "has more than 3000000 bytes" in told(caught)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://example.org/lfs", "is not encrypted"),
        ("https://me:hunter2@example.org/lfs", "holds credentials"),
        ("ssh://example.org/lfs", "is not an https:// URL"),
        ("file:///etc", "names a folder of this machine"),
    ],
)
def test_lfs_servers_that_are_not_asked(publisher, folder, address, said):
    publisher.release("v1", {"a.expert": pointer_to(DATA), ".lfsconfig": f"[lfs]\n\turl = {address}\n".encode()})
    with serve_git(publisher.bare.parent) as server, pytest.raises(FetchError) as caught:
        fetch(folder, wanted(f"git+{server.url}/expert.git#v1:a.expert"))
    assert said in told(caught)
    assert "hunter2" not in told(caught)


def test_the_lfs_store_of_a_repository_on_this_machine(publisher, folder):
    oid = digest_of(DATA)
    publisher.release("v1", {"a.expert": pointer_to(DATA)})
    source = f"git+{publisher.bare.as_uri()}#v1:a.expert"
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(source), offline=True)
    assert "does not have the file" in told(caught)
    stored = publisher.bare / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    stored.parent.mkdir(parents=True)
    stored.write_bytes(DATA)
    assert fetch(folder, wanted(source), offline=True) == [DATA]
