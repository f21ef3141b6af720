"""A Git repository vouches for a publisher: asked over smart HTTP, recorded in the index, asked again, shown."""

import http.server
import json
import subprocess
import threading

import pytest
from click.testing import CliRunner

from tests.support.fetching import isolate, store_login
from tests.support.git_http import serve_git
from tests.support.projects import Listening
from xpm.cli.main import cli
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations import maintain
from xpm.operations.proofs import verify_publisher
from xpm.site.build import build_site
from xpm.site.pages import Site
from xpm_index.errors import GitError, IndexFormatError, KeyFileError
from xpm_index.index import IndexSnapshot
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.proofs import DOCUMENT, NotProvedError
from xpm_index.publishers import GitProof, Publisher, parse_repository
from xpm_index.tuf_keys import Keyring

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.hooksPath=/dev/null")


@pytest.fixture
def user(tmp_path, monkeypatch):
    return isolate(monkeypatch, tmp_path / "user")


@pytest.fixture
def home(tmp_path, user):
    return Home(tmp_path / "home")


class Repository:
    """A repository of a publisher, made by Git itself; its default branch is ``trunk``, and ``main`` is another."""

    def __init__(self, root):
        self.work, self.bare = root / "work", root / "served/acme/about.git"
        self.work.mkdir()
        self.bare.parent.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "trunk", str(self.bare)], check=True)
        self.git("init", "-q", "-b", "trunk")

    def git(self, *arguments):
        done = subprocess.run(["git", *IDENTITY, *arguments], cwd=self.work, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    def say(self, publishers, branch="trunk"):
        return self.put(json.dumps({"publishers": publishers}).encode(), branch)

    def put(self, data, branch="trunk"):
        (self.work / DOCUMENT).unlink(missing_ok=True)
        (self.work / DOCUMENT).write_bytes(data)
        return self.push(branch)

    def push(self, branch="trunk"):
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        self.git("push", "-q", "--force", str(self.bare), f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, user):
    return Repository(tmp_path)


@pytest.fixture
def git(repository):
    with serve_git(repository.bare.parents[1]) as server:
        yield server


@pytest.fixture
def url(git):
    return f"{git.url}/acme/about.git"


def verify(home, index, url, **options):
    options = {"keys": index.index_keys.ring} | options
    return verify_publisher(home, str(index.path), "acme", repository=url, **options)


def recorded(index):
    return IndexWriter.open(index.path).publisher("acme").git_proof


@pytest.mark.parametrize("filters", [True, False])
def test_a_repository_that_names_the_keys_is_recorded_and_shown(index, home, repository, url, filters, tmp_path):
    subprocess.run(
        ["git", "-C", str(repository.bare), "config", "uploadpack.allowFilter", str(filters).lower()], check=True
    )
    repository.say({"acme": []}, branch="main")
    commit = repository.say({"acme": ["ed25519:" + "0" * 64, index.key.public.text], "other": []})
    assert verify(home, index, url + "/").git_proof == recorded(index)
    assert (recorded(index).repository, recorded(index).commit) == (url, commit)
    snapshot = IndexSnapshot.enclosed(index.writer.repo, index.writer.head)
    build_site(snapshot, tmp_path / "site", Site(url="https://experts.example.org/"))
    shown = json.loads((tmp_path / "site/publishers/acme.json").read_text())
    assert (shown["repository"], shown["repository_commit"]) == (url, commit)
    assert shown["repository_checked_at"] == recorded(index).checked_at
    assert shown["domain"] is None
    text = (tmp_path / "site/publishers/acme.html").read_text()
    assert f"<code>{commit[:12]}</code>, asked 20" in text
    assert f"{url} says that they are its own" in text
    assert list(index.writer.publisher("acme").vouchers()) == [
        f"{url} at {commit[:12]}, asked {recorded(index).checked_at[:10]}"
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"publishers": {}}', "does not say that"),
        (b'{"publishers": {"acme": []}}', "does not say that"),
        (b'{"publishers": {"acme": "ed25519:"}}', "must be an array"),
        (b"[]", "must be an object"),
        (b"{}", "publishers is missing"),
        (b"", "JSON"),
        (b"[" * 50_000, "deeper"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n", "pointer of Git LFS"),
    ],
)
def test_what_does_not_name_the_keys_is_recorded_nowhere(index, home, repository, url, body, message):
    repository.put(body)
    head = index.writer.head
    with pytest.raises(NotProvedError, match=message):
        verify(home, index, url)
    assert recorded(index) is None
    assert index.writer.head == head


def test_another_publisher_s_name_proves_nothing(index, home, repository, url):
    repository.say({"acme-tools": [index.key.public.text], "other": [index.key.public.text]})
    with pytest.raises(NotProvedError, match="does not say that"):
        verify(home, index, url)


def test_a_file_that_is_no_file(index, home, repository, url):
    repository.say({"acme": [index.key.public.text]})
    (repository.work / "real.json").write_bytes((repository.work / DOCUMENT).read_bytes())
    (repository.work / DOCUMENT).unlink()
    (repository.work / DOCUMENT).symlink_to("real.json")
    repository.push()
    with pytest.raises(NotProvedError, match="does not vouch for acme") as caught:
        verify(home, index, url)
    assert "no file xpm-publisher.json" in caught.value.context
    (repository.work / DOCUMENT).unlink()
    (repository.work / DOCUMENT).mkdir()
    (repository.work / DOCUMENT / "x").touch()
    repository.push()
    with pytest.raises(NotProvedError, match="does not vouch for acme"):
        verify(home, index, url)


@pytest.mark.parametrize("filters", ["true", "false"])
def test_a_file_that_is_too_large(index, home, repository, url, filters):
    subprocess.run(["git", "-C", str(repository.bare), "config", "uploadpack.allowFilter", filters], check=True)
    repository.put(json.dumps({"publishers": {"acme": [index.key.public.text]}}).encode() + b" " * (70 << 10))
    with pytest.raises(GitError, match=r"more than|sends"):
        verify(home, index, url)
    assert recorded(index) is None


def test_a_repository_that_is_not_there_or_empty(index, home, git, url):
    with pytest.raises(NotProvedError, match="does not vouch for acme") as caught:
        verify(home, index, f"{git.url}/acme/none.git")
    assert "no Git repository" in caught.value.context
    with pytest.raises(NotProvedError, match="does not vouch for acme") as caught:
        verify(home, index, url)
    assert "no commit on its default branch" in caught.value.context


def test_a_login_proves_nothing_and_is_not_sent(index, home, user, repository):
    repository.say({"acme": [index.key.public.text]})
    with serve_git(repository.bare.parents[1], login="a:secret") as server:
        store_login(user, server.url, "a:secret")
        with (user / ".gitconfig").open("a") as file:
            file.write("[http]\n\textraHeader = Authorization: Basic YTpzZWNyZXQ=\n")
        with pytest.raises(NotProvedError, match="does not vouch for acme") as caught:
            verify(home, index, f"{server.url}/acme/about.git")
    assert "wants a login" in caught.value.context


def test_nobody_else_speaks_for_a_host(index, home, repository, url, git):
    repository.say({"acme": [index.key.public.text]})

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", git.url + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(NotProvedError, match="does not vouch for acme") as caught:
            verify(home, index, f"http://127.0.0.1:{server.server_address[1]}/acme/about.git")
    finally:
        server.shutdown()
        server.server_close()
    assert "redirects to elsewhere" in caught.value.context


def test_refreshing_asks_again(index, home, repository, tmp_path):
    first = repository.say({"acme": [index.key.public.text]})
    listening, ring = Listening(), index.index_keys.ring
    with serve_git(repository.bare.parents[1]) as server:
        url = f"{server.url}/acme/about.git"
        verify(home, index, url)
        asked = len(server.requests)
        maintain.refresh(home, str(index.path), keys=Keyring([index.index_keys.online]), progress=listening)
        assert len(server.requests) == asked  # nothing could be recorded without the targets key
        second = repository.push()
        assert first != second
        maintain.refresh(home, str(index.path), keys=ring, progress=listening)
        assert recorded(index).commit == second
        moved = repository.bare.rename(tmp_path / "gone.git")
        before = recorded(index)
        moved.rename(repository.bare)
    maintain.refresh(home, str(index.path), keys=ring, progress=listening)  # the server is down
    assert recorded(index) == before
    assert "could not be asked" in listening.warnings[-1]


def test_what_no_longer_holds_is_taken_out(index, home, repository, url):
    listening, ring = Listening(), index.index_keys.ring
    repository.say({"acme": [index.key.public.text]})
    verify(home, index, url)
    repository.say({"acme": []})
    maintain.refresh(home, str(index.path), keys=ring, progress=listening)
    assert recorded(index) is None
    assert "no longer vouched for" in listening.warnings[-1]
    repository.say({"acme": [index.key.public.text]})
    verify(home, index, url)
    repository.bare.rename(repository.bare.with_name("renamed.git"))
    maintain.refresh(home, str(index.path), keys=ring, progress=listening)
    assert recorded(index) is None


def test_every_key_in_use_must_be_named(index, home, repository, url):
    repository.say({"acme": [index.key.public.text]})
    verify(home, index, url)
    second = SigningKey.generate().public
    maintain.add_publisher(home, str(index.path), "acme", second, keys=index.index_keys.ring)
    assert recorded(index) is None
    with pytest.raises(NotProvedError, match=second.key_id):
        verify(home, index, url)


def test_it_needs_the_targets_key(index, home, repository, url):
    repository.say({"acme": [index.key.public.text]})
    with pytest.raises(KeyFileError, match="targets needs 1 of its keys"):
        verify(home, index, url, keys=Keyring([index.index_keys.online]))
    assert recorded(index) is None


def test_the_command_records_what_a_repository_says(index, home, repository, url, monkeypatch):
    monkeypatch.setenv("XPM_HOME", str(home.root))
    keys = index.index_keys
    for name, key in (("targets", keys.targets), ("online", keys.online)):
        key.save(home.keys / f"{name}.json")
    command = ["index", "verify-publisher", "acme", "--index", str(index.path)]
    assert isinstance(CliRunner().invoke(cli, command).exception, UsageError)
    commit = repository.say({"acme": [index.key.public.text]})
    done = CliRunner().invoke(cli, [*command, "--git", url])
    assert f"{url} vouches for acme, at commit {commit[:12]}" in done.output
    assert recorded(index).commit == commit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "http://example.org/a",
        "https://example.org",
        "https://example.org/",
        "https://a:b@example.org/x",
        "https://example.org/x?token=a",
        "https://example.org/x?a",
        "https://example.org/x#a",
        "ssh://git@example.org/x",
        "git@example.org:x",
        "file:///x",
        "ext::sh",
        "--upload-pack=x",
    ],
)
def test_what_is_no_repository_for_everybody(text):
    with pytest.raises(IndexFormatError):
        parse_repository(text)


@pytest.mark.parametrize(
    "change",
    [{"repository": "ext::sh"}, {"commit": "main"}, {"checked_at": "today"}, {"repository": ""}, {"commit": "0" * 41}],
)
def test_a_malformed_record_is_refused(index, change):
    proof = GitProof(repository="https://example.org/x", commit="0" * 40, checked_at="2026-01-31T12:00:00Z")
    publisher = Publisher(namespace="acme", keys=(), git_proof=proof)
    assert Publisher.parse(publisher.to_bytes(), what="x") == publisher
    document = json.loads(publisher.to_bytes())
    document["git_proof"] |= change
    with pytest.raises(IndexFormatError, match="git_proof"):
        Publisher.parse(json.dumps(document).encode(), what="x")
