"""Experts that come through no index: from a Git tag, a URL, a local archive, a publisher's own folder."""

import functools
import http.server
import os
import subprocess
import threading

import pytest

from tests.support.git_http import serve_git
from tests.support.packages import make_publisher
from tests.support.simulator import BASE_DIGEST, IndexSimulator
from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.lockfile import Pinned
from xpm.operations import indexes as index_operations
from xpm.operations import install as operations
from xpm.operations.installed import find_installed
from xpm.operations.options import Options
from xpm.operations.verify import verify
from xpm.parse_source import parse_source
from xpm.progress import Silent
from xpm_index.archive import extract_archive
from xpm_index.errors import GitError, IntegrityError, SignatureError, TrustError
from xpm_index.keys import SigningKey
from xpm_index.requirements import Requirement


@pytest.fixture
def index(tmp_path):
    made = IndexSimulator(tmp_path)
    made.serve("expert-b", "1.0.0")
    return made


@pytest.fixture
def stranger(tmp_path):
    """A publisher that the project's index does not know, with a package that requires one that it has."""
    (tmp_path / "elsewhere").mkdir()
    made = IndexSimulator(tmp_path / "elsewhere", name="elsewhere", publisher="indie", with_base=False)
    made.serve("expert-x", "1.0.0", requires=["expert-b@^1"])
    return made


@pytest.fixture
def repository(tmp_path, stranger):
    """The expert's own repository: its archive at a tag, and its publisher's keys."""
    folder = tmp_path / "expert-x.src"
    folder.mkdir()
    (folder / "dist").mkdir()
    (folder / "publisher.json").write_bytes(make_publisher(stranger.key, namespace="indie").to_bytes())
    commit(folder, stranger, "1.0.0")
    return folder


def commit(folder, stranger, version):
    for old in (folder / "dist").glob("*"):
        old.unlink()
    archive = stranger.archives[f"expert-x {version}"]
    (folder / "dist" / archive.name).write_bytes(archive.read_bytes())
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(folder)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", version], check=True)
    subprocess.run([*git, "tag", f"v{version}"], check=True)


def install(environment, *texts, key=None, editable=False, **options):
    wanted = [parse_source(text, folder=environment.folder, editable=editable) for text in texts]
    return operations.install(environment, wanted, Options(**options), key=key)


def test_from_a_git_tag(environment, repository, stranger, tmp_path):
    change = install(environment, f"git+file://{repository}@v1.0.0")
    assert change.added == ("expert-b 1.0.0", "expert-x 1.0.0")
    locked = change.lock.experts[1]
    assert isinstance(locked.origin, Pinned)
    assert locked.origin.key == stranger.key.public
    assert locked.archives[0].sources == (f"git+file://{repository}#v1.0.0:dist/expert-x-1.0.0.expert",)
    assert "expert-x 1.0.0" in verify(environment).verified
    elsewhere = Environment.find(Home(tmp_path / "other-home"), environment.folder)
    assert "expert-x 1.0.0" in operations.sync(elsewhere, frozen=True).fetched
    assert operations.uninstall(environment, ["x"]).removed == ("expert-b 1.0.0", "expert-x 1.0.0")


def test_a_new_tag_by_the_same_publisher(environment, repository, stranger):
    install(environment, f"git+file://{repository}@v1.0.0")
    stranger.serve("expert-x", "1.1.0")
    commit(repository, stranger, "1.1.0")
    assert install(environment, f"git+file://{repository}@v1.1.0").updated == ("expert-x 1.0.0 -> 1.1.0",)


def test_another_key_than_the_pinned_one_is_refused(environment, repository, stranger):
    install(environment, f"git+file://{repository}@v1.0.0")
    thief = stranger.key = SigningKey.generate()
    stranger.add_publisher(thief)
    stranger.serve("expert-x", "1.1.0")
    (repository / "publisher.json").write_bytes(make_publisher(thief, namespace="indie").to_bytes())
    commit(repository, stranger, "1.1.0")
    before = (environment.folder / "xpm.lock").read_bytes()
    with pytest.raises(TrustError, match="signed with another key than before"):
        install(environment, f"git+file://{repository}@v1.1.0")
    assert (environment.folder / "xpm.lock").read_bytes() == before
    assert install(environment, f"git+file://{repository}@v1.1.0", key=thief.public).updated


def test_a_moved_tag_is_refused(environment, repository, stranger, tmp_path):
    install(environment, f"git+file://{repository}@v1.0.0")
    stranger.serve("expert-x", "2.0.0")
    subprocess.run(["git", "-C", str(repository), "tag", "-d", "v1.0.0"], check=True, capture_output=True)
    stranger.archives["expert-x 1.0.0"] = stranger.archives["expert-x 2.0.0"].rename(tmp_path / "expert-x-1.0.0.expert")
    commit(repository, stranger, "1.0.0")
    elsewhere = Environment.find(Home(tmp_path / "other-home"), environment.folder)
    with pytest.raises(IntegrityError, match="was altered"):
        operations.sync(elsewhere, frozen=True)
    assert elsewhere.store.digests() == []


def test_an_altered_lock_is_not_the_publisher_s_fault(environment, repository, tmp_path):
    install(environment, f"git+file://{repository}@v1.0.0")
    path = environment.folder / "xpm.lock"
    text = path.read_text()
    digest = environment.lockfile().experts[1].archives[0].digest
    path.write_text(text.replace(digest, "sha256:" + "0" * 64))
    elsewhere = Environment.find(Home(tmp_path / "other-home"), environment.folder)
    with pytest.raises(IntegrityError, match="was altered") as caught:
        operations.sync(elsewhere, frozen=True)
    assert "xpm.lock was edited" in caught.value.hint
    assert "tell the publisher" not in caught.value.hint
    assert elsewhere.store.digests() == []


def test_from_a_local_archive(environment, stranger):
    archive = stranger.archives["expert-x 1.0.0"]
    (environment.folder / "dist").mkdir()
    (environment.folder / "dist" / archive.name).write_bytes(archive.read_bytes())
    with pytest.raises(TrustError, match="nobody knows key"):
        install(environment, f"dist/{archive.name}")
    with pytest.raises(SignatureError, match="another key"):
        install(environment, f"dist/{archive.name}", key=SigningKey.generate().public)
    change = install(environment, f"dist/{archive.name}", key=stranger.key.public)
    assert "expert-x 1.0.0" in change.added
    assert 'archive = "dist/expert-x-1.0.0.expert"' in (environment.folder / "xpm.toml").read_text()
    assert str(environment.folder) not in (environment.folder / "xpm.lock").read_text()
    assert operations.sync(environment).fetched == ()
    operations.install(environment, [Requirement.parse("expert-b")])
    assert find_installed(environment, "x").folder is not None


def test_from_a_url(environment, stranger, tmp_path):
    archive = stranger.archives["expert-x 1.0.0"]
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(archive.parent))
    handler.log_message = lambda *arguments: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/{archive.name}"
        with pytest.raises(IntegrityError, match="not what was promised"):
            install(environment, f"{url}#sha256={'0' * 64}", key=stranger.key.public)
        assert "expert-x 1.0.0" in install(environment, url, key=stranger.key.public).added
    finally:
        server.shutdown()
        server.server_close()
    assert operations.sync(environment, Options(offline=True)).fetched == ()


def test_a_publisher_s_own_folder(environment, stranger, tmp_path):
    folder = tmp_path / "project" / "mine"
    folder.mkdir()
    extract_archive(stranger.archives["expert-x 1.0.0"], folder)
    with pytest.raises(UsageError, match="is a folder"):
        install(environment, "./mine")
    change = install(environment, "./mine", editable=True)
    assert "expert-x 1.0.0" in change.added
    assert find_installed(environment, "x").folder == folder
    assert "expert-x 1.0.0" not in verify(environment).verified
    (folder / "slots.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"no slots\.safetensors"):
        operations.lock(environment)
    assert BASE_DIGEST in (environment.folder / "xpm.lock").read_text()


@pytest.fixture
def ssh_log(tmp_path, monkeypatch):
    """What was asked of the ``ssh`` program, a stand-in that runs here what it is told to run there."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" >> "$0.log"\nexec sh -c "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program.with_name("ssh.log")


@pytest.mark.parametrize("form", ["git+ssh://git@localhost{path}@v1.0.0", "git@localhost:{path}@v1.0.0"])
def test_over_ssh(environment, repository, ssh_log, form):
    assert "expert-x 1.0.0" in install(environment, form.format(path=repository)).added
    assert "git@localhost" in ssh_log.read_text()
    assert "git-upload-pack" in ssh_log.read_text()


def test_an_index_over_ssh(environment, stranger, ssh_log):
    url = f"ssh://git@localhost{stranger.path}"
    state = index_operations.add(environment, "side", url, progress=Silent(), fingerprint=stranger.fingerprint)
    assert state.num_names == 1
    assert "expert-x 1.0.0" in install(environment, "x").added
    assert "git@localhost" in ssh_log.read_text()


def test_an_index_that_wants_a_login(environment, stranger, tmp_path, monkeypatch):
    """The login is Git's affair: a credential helper has it, and it is in no file and no message of ours."""
    config = tmp_path / "gitconfig"
    config.write_text('[credential]\n\thelper = "!f() { echo username=me; echo password=s3cret; }; f"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    with serve_git(stranger.path.parent, login="me:s3cret") as server:
        url = f"{server.url}/{stranger.path.name}"
        index_operations.add(environment, "side", url, progress=Silent(), fingerprint=stranger.fingerprint)
        assert "expert-x 1.0.0" in install(environment, "x").added
        config.write_text('[credential]\n\thelper = "!f() { echo username=me; echo password=wr0ng; }; f"\n')
        with pytest.raises(GitError, match="refused the login of me") as caught:
            index_operations.update(environment, "side")
    told = f"{caught.value.message} {caught.value.context} {caught.value.hint}"
    kept = b"".join(path.read_bytes() for path in environment.folder.iterdir())
    assert "wr0ng" not in told
    assert b"s3cret" not in kept
