"""The Git module against real Git: repositories made by `git`, fetched over file:// and smart HTTP."""

import os
import random
import subprocess
import zlib
from pathlib import Path

import pytest

from tests.support.git_http import serve_git
from xpm_index.errors import GitError
from xpm_index.git import BareRepo
from xpm_index.git_login import ask_git
from xpm_index.urls import without_credentials

AUTHOR = "xpm <xpm@localhost>"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """No configuration but the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return folder


def git(*arguments: str, cwd: Path, text: bytes = b"") -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env={**os.environ, **identity}, input=text, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def remote(tmp_path) -> Path:
    """A bare repository made by Git itself: two commits on main, an annotated and a light tag on the first."""
    work, bare = tmp_path / "work", tmp_path / "served" / "remote.git"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    (work / "entries" / "ab").mkdir(parents=True)
    (work / "entries" / "ab" / "x.jsonl").write_bytes(b"one\n")
    (work / "index.json").write_bytes(b"{}")
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "first", cwd=work)
    git("tag", "light", cwd=work)
    git("tag", "-a", "-m", "annotated", "v1", cwd=work)
    (work / "entries" / "ab" / "x.jsonl").write_bytes(b"one\ntwo\n")
    git("commit", "-q", "-am", "second", cwd=work)
    bare.parent.mkdir()
    git("clone", "-q", "--bare", str(work), str(bare), cwd=tmp_path)
    return bare


@pytest.fixture
def repo(tmp_path):
    with BareRepo.init(tmp_path / "mine.git") as repo:
        yield repo


def commit_in(remote: Path, path: str, content: bytes) -> str:
    with BareRepo.open(remote) as repo:
        return repo.commit_files({path: content}, message="more", author=AUTHOR, when=0)


@pytest.fixture(params=["path", "file", "http"])
def url(request, remote):
    if request.param == "http":
        with serve_git(remote.parent) as server:
            yield f"{server.url}/{remote.name}"
    else:
        yield str(remote) if request.param == "path" else remote.as_uri()


def test_fetch_reads_what_git_wrote(repo, remote, url):
    commit = repo.fetch(url)
    assert commit == git("rev-parse", "main", cwd=remote) == repo.remote_head(url)
    assert repo.head() is None  # fetching accepts nothing
    assert repo.read_blob(commit, "entries/ab/x.jsonl") == b"one\ntwo\n"
    assert repo.read_blob(commit, "entries/ab/none.jsonl") is None
    assert repo.read_blob(commit, "entries/ab") is None
    assert repo.read_blob(commit, "index.json/x") is None
    assert list(repo.list_tree(commit, "entries")) == ["entries/ab/x.jsonl"]
    assert list(repo.list_tree(commit, "nothing")) == []


def test_fetch_again_brings_what_is_new(repo, remote, url):
    old = repo.fetch(url)
    repo.set_head(old)
    new = commit_in(remote, "entries/cd/y.jsonl", b"y\n")
    assert repo.fetch(url) == new
    assert repo.fetch(url) == new
    assert repo.head() == old
    assert repo.is_ancestor(old, new)
    assert not repo.is_ancestor(new, old)
    assert list(repo.changed_paths(old, new, "entries")) == ["entries/cd/y.jsonl"]
    assert list(repo.changed_paths(old, old, "entries")) == []
    assert list(repo.changed_paths(old, new, "publishers")) == []


@pytest.mark.parametrize("tag", ["light", "v1"])
def test_fetch_of_a_tag(repo, remote, url, tag):
    commit = repo.fetch(url, tag=tag)
    assert commit == git("rev-parse", f"{tag}^{{commit}}", cwd=remote)
    assert repo.read_blob(commit, "entries/ab/x.jsonl") == b"one\n"


def test_fetch_of_a_tag_there_is_not(repo, url):
    with pytest.raises(GitError, match="has no tag 'v9'"):
        repo.fetch(url, tag="v9")


def test_a_shallow_fetch_brings_one_commit(repo, remote):
    with serve_git(remote.parent) as server:
        commit = repo.fetch(f"{server.url}/{remote.name}", depth=1)
    assert repo.read_blob(commit, "entries/ab/x.jsonl") == b"one\ntwo\n"
    with pytest.raises(GitError):
        repo.read_blob(git("rev-parse", "main~1", cwd=remote), "index.json")


def test_git_accepts_what_we_commit(repo):
    first = repo.commit_files({"a": b"1", "b/c/d": b"2"}, message="first", author=AUTHOR, when=5)
    second = repo.commit_files({"b/e": b"3", "a": b"4"}, message="second", author=AUTHOR, when=6)
    assert git("fsck", "--strict", "--full", cwd=repo.path) == ""
    assert git("rev-parse", "main", cwd=repo.path) == repo.head() == second
    assert git("rev-parse", "main~1", cwd=repo.path) == first
    assert git("ls-tree", "-r", "--name-only", "main", cwd=repo.path).split() == ["a", "b/c/d", "b/e"]
    assert git("show", "main:a", cwd=repo.path) == "4"
    assert git("log", "-1", "--format=%an <%ae> %at %s", cwd=repo.path) == f"{AUTHOR} 6 second"


def test_commits_are_deterministic(tmp_path):
    commits = set()
    for name in ("x", "y"):
        with BareRepo.init(tmp_path / name) as repo:
            commits.add(repo.commit_files({"a": b"1", "b/c": b"2"}, message="m", author=AUTHOR, when=0))
    assert len(commits) == 1


def test_a_bundle_made_here_is_read_by_git_and_by_us(repo, tmp_path):
    commit = repo.commit_files({"a": b"1"}, message="m", author=AUTHOR, when=0)
    bundle = tmp_path / "index.bundle"
    repo.write_bundle(bundle)
    assert commit in git("bundle", "list-heads", str(bundle), cwd=tmp_path)
    assert BareRepo.bundle_head(bundle) == commit
    for name, take in (
        ("fetched", lambda copy: copy.fetch(str(bundle))),
        ("taken", lambda copy: copy.take_bundle(bundle)),
    ):
        with BareRepo.init(tmp_path / f"{name}.git") as copy:
            assert take(copy) == commit
            assert copy.read_blob(commit, "a") == b"1"
            assert copy.head() is None


def test_a_newer_bundle_is_taken_beside_what_is_there(repo, tmp_path):
    bundle = tmp_path / "index.bundle"
    with BareRepo.init(tmp_path / "copy.git") as copy:
        for number in range(3):
            commit = repo.commit_files({"a": b"%d" % number}, message="m", author=AUTHOR, when=number)
            repo.write_bundle(bundle)
            copy.set_head(copy.take_bundle(bundle))
            assert copy.read_blob(commit, "a") == b"%d" % number
    git("fsck", "--strict", cwd=tmp_path / "copy.git")


def _without_pack(data):
    return data[: data.index(b"\n\n") + 2]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "does not begin"),
        (lambda data: b"# v4 git bundle\n" + data, "does not begin"),
        (lambda data: data[:30], "does not end"),
        (lambda data: data[:16] + b"@x\n" * 20_000, "does not end"),
        (lambda data: data[:16] + b"a" * 10_000, "does not end"),
        (lambda data: data[:16] + b"-" + b"0" * 40 + b" x\n" + data[16:], "a part of a history"),
        (_without_pack, "is not a Git bundle"),
        (lambda data: data[:-40], "is not a Git bundle"),
        (lambda data: data[:-40] + bytes(40), "is not a Git bundle"),
        (lambda data: _without_pack(data) + b"PACK" + bytes(28), "is not a Git bundle"),
    ],
)
def test_what_is_no_bundle_is_refused_and_leaves_nothing(damage, message, repo, tmp_path):
    repo.commit_files({"a": b"1" * 100}, message="m", author=AUTHOR, when=0)
    bundle = tmp_path / "index.bundle"
    repo.write_bundle(bundle)
    bundle.write_bytes(damage(bundle.read_bytes()))
    with BareRepo.init(tmp_path / "copy.git") as copy:
        with pytest.raises(GitError, match=message):
            copy.take_bundle(bundle)
        assert not [path for path in (copy.path / "objects").rglob("*") if path.is_file()]


def test_an_altered_object_is_refused(repo):
    commit = repo.commit_files({"a": b"genuine"}, message="m", author=AUTHOR, when=0)
    blob, other = (git("hash-object", "-w", "--stdin", cwd=repo.path, text=text) for text in (b"genuine", b"forged!"))
    objects = repo.path / "objects"
    target = objects / blob[:2] / blob[2:]
    target.chmod(0o644)
    target.write_bytes((objects / other[:2] / other[2:]).read_bytes())
    with BareRepo.open(repo.path) as fresh, pytest.raises(GitError):
        fresh.read_blob(commit, "a")


def test_links_and_submodules_are_not_followed(repo, remote, tmp_path):
    work = tmp_path / "evil"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    (work / "link").symlink_to("/etc/passwd")
    git("add", "link", cwd=work)
    git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'main', cwd=remote)},sub", cwd=work)
    git("commit", "-q", "-m", "evil", cwd=work)
    commit = repo.fetch(str(work))
    assert repo.read_blob(commit, "link") == b"/etc/passwd"  # its text, as any blob
    assert repo.read_blob(commit, "link/x") is None
    with pytest.raises(GitError):
        repo.read_blob(commit, "sub/index.json")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["evil", "home", "mine.git", "served", "work"]


def test_hooks_do_not_run(repo, remote, tmp_path):
    mark = tmp_path / "ran"
    for name in ("post-update", "post-commit", "reference-transaction", "pre-receive", "upload-pack"):
        for folder in (remote / "hooks", repo.path / "hooks"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
            (folder / name).chmod(0o755)
    repo.set_head(repo.fetch(remote.as_uri()))
    repo.commit_files({"a": b"1"}, message="m", author=AUTHOR, when=0)
    assert not mark.exists()


@pytest.mark.parametrize("where", ["missing", "file", "http"])
def test_no_repository_there(repo, tmp_path, where):
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        url = {
            "missing": str(tmp_path / "none"),
            "file": (tmp_path / "none").as_uri(),
            "http": server.url + "/none.git",
        }
        with pytest.raises(GitError, match="could not fetch"):
            repo.fetch(url[where])


def test_no_branch_there(repo, tmp_path):
    BareRepo.init(tmp_path / "empty.git").close()
    with pytest.raises(GitError, match="no branch main"):
        repo.fetch(str(tmp_path / "empty.git"))


def test_nobody_listens(repo):
    with pytest.raises(GitError, match="could not fetch"):
        repo.fetch("http://127.0.0.1:9/x.git")


def test_init_refuses_a_folder_in_use(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(GitError, match="not empty"):
        BareRepo.init(tmp_path / "used")


def test_open_refuses_what_is_no_repository(tmp_path):
    with pytest.raises(GitError, match="not a bare Git repository"):
        BareRepo.open(tmp_path)


def test_a_login_is_asked_of_git(repo, remote, home):
    with serve_git(remote.parent, login="me:secret") as server:
        url = f"{server.url}/{remote.name}"
        with pytest.raises(GitError, match="wants a login"):
            repo.fetch(url)
        (home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
        (home / ".git-credentials").write_text(server.url.replace("://", "://me:secret@") + "\n")
        assert repo.fetch(url) == repo.remote_head(url)
        (home / ".git-credentials").write_text(server.url.replace("://", "://me:wrong@") + "\n")
        with pytest.raises(GitError, match="refused the login of me"):
            repo.fetch(url)


def test_a_login_in_the_url_works_and_is_never_shown(repo, remote):
    with serve_git(remote.parent, login="me:secret") as server:
        url = f"{server.url}/{remote.name}".replace("://", "://me:secret@")
        assert repo.fetch(url)
        with pytest.raises(GitError) as caught:
            repo.fetch(url.replace("remote.git", "none.git"))
    assert "secret" not in f"{caught.value} {caught.value.context} {caught.value.hint}"
    assert without_credentials(url) == url.replace("me:secret@", "")


def test_a_line_break_in_a_url_asks_git_for_nothing(home):
    (home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    (home / ".git-credentials").write_text("https://me:secret@good.example\n")
    assert ask_git("https://good.example/x") is not None
    assert ask_git("https://evil.example/\nhost=good.example") is None
    assert ask_git("https://other.example/x") is None


def test_an_object_whose_compressed_form_begins_with_long_tables_is_read(tmp_path):
    choose = random.Random(1)
    data = bytes(choose.choices(range(256), weights=[1 + (number * 7919) % 251 for number in range(256)], k=20_000))
    assert zlib.decompressobj().decompress(zlib.compress(b"blob 20000\0" + data)[:64]) == b""
    with BareRepo.init(tmp_path / "r.git") as repo:
        commit = repo.commit_files({"x": data}, message="x", author="x <x@localhost>")
        assert repo.read_blob(commit, "x") == data
