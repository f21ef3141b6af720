"""Whom fetching talks to: redirects, logins, certificates and proxies; and that no secret is ever shown."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fetching import DATA, OTHER, fetch, isolate, store_login, told, wanted
from tests.support.web_server import serve_web
from xpm.errors import FetchError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    return isolate(monkeypatch, tmp_path / "home")


@pytest.fixture
def web():
    with serve_web() as server:
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "downloads"


def test_nobody_listens(folder):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted("http://127.0.0.1:9/a?x=1"))
    assert "http://127.0.0.1:9/a can't be reached" in told(caught)
    assert "x=1" not in told(caught)


def test_redirects_are_followed_here(folder, web):
    url = web.serve("/a", redirect="/b")
    web.serve("/b", redirect=web.serve("/c", DATA))
    assert fetch(folder, wanted(url)) == [DATA]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://example.org/x", "is not encrypted"),
        ("file:///etc/passwd", "is not an https:// URL"),
        ("https://user:secret@example.org/x", "holds credentials"),
        ("/a", "redirects without end"),
    ],
)
def test_redirects_elsewhere_are_not(folder, web, target, said):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", redirect=target)))
    assert said in told(caught)
    assert "secret" not in told(caught)


def test_a_login_is_asked_of_git_once_and_kept_to_its_origin(folder, web, home):
    with serve_web() as elsewhere:
        store_login(home, web.url, "me:secret")
        url = web.serve("/a", redirect=elsewhere.serve("/x", DATA), login="me:secret")
        again = web.serve("/b", OTHER, login="me:secret", cuts=[1_000_000])
        assert fetch(folder, wanted(url), wanted(again, data=OTHER), jobs=1) == [DATA, OTHER]
        assert [request.status for request in web.requests] == [401, 302, 200, 206]
        assert "Authorization" not in elsewhere.requests[0].headers


def test_a_login_is_not_asked_for_where_a_redirect_leads(folder, web, home):
    with serve_web() as elsewhere:
        store_login(home, elsewhere.url, "me:secret")
        with pytest.raises(FetchError, match="could not be fetched") as caught:
            fetch(folder, wanted(web.serve("/a", redirect=elsewhere.serve("/x", DATA, login="me:secret"))))
        assert "401" in told(caught)
        assert len(elsewhere.requests) == 1


def test_a_wrong_login_is_told_without_its_password(folder, web, home):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA, login="me:secret")))
    assert "wants a login" in told(caught)
    store_login(home, web.url, "me:hunter2")
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.url + "/a"))
    assert "refused the login of me" in told(caught)
    assert "hunter2" not in told(caught)


def test_only_servers_with_a_trusted_certificate(folder, tmp_path, monkeypatch):
    certificate = tmp_path / "server.pem"
    options = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command = ["openssl", "req", "-x509", *options, "-keyout", str(certificate), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    with certificate.open("ab") as file:
        file.write((tmp_path / "cert.pem").read_bytes())
    with serve_web(certificate=certificate) as web:
        source = wanted(web.serve("/a", DATA, cuts=[1_000_000]))
        with pytest.raises(FetchError) as caught:
            fetch(folder, source)
        assert "has no certificate that is trusted here" in told(caught)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert fetch(folder, source) == [DATA]
        assert web.sent == len(DATA)


def test_proxies_of_the_environment_are_used_and_their_logins_not_shown(folder, web, monkeypatch):
    monkeypatch.setenv("https_proxy", web.url.replace("://", "://me:hunter2@"))
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted("https://example.invalid/a"))
    assert "the proxy for https://example.invalid/a" in told(caught)
    assert "hunter2" not in told(caught)
