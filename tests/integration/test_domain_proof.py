"""A domain vouches for a publisher: asked over HTTP, recorded in the index, asked again, shown."""

import json

import pytest

from tests.support.projects import Listening
from tests.support.web_server import serve_web
from xpm.home import Home
from xpm.operations import maintain
from xpm.operations.proofs import verify_publisher
from xpm.site.build import build_site
from xpm.site.pages import Site
from xpm_index.errors import IndexFormatError, KeyFileError
from xpm_index.index import IndexSnapshot
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.proofs import WELL_KNOWN, NotProvedError
from xpm_index.publishers import parse_domain
from xpm_index.tuf_keys import Keyring
from xpm_index.web import WebError


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def web():
    with serve_web() as server:
        yield server


@pytest.fixture
def domain(web):
    return web.url.removeprefix("http://")


def say(web, publishers):
    web.serve(WELL_KNOWN, json.dumps({"publishers": publishers}).encode())


def verify(home, index, domain, **options):
    options = {"keys": index.index_keys.ring} | options
    return verify_publisher(home, str(index.path), "acme", domain=domain, **options)


def recorded(index):
    return IndexWriter.open(index.path).publisher("acme").proof


def test_a_domain_that_names_the_keys_is_recorded_and_shown(index, home, web, domain, tmp_path):
    say(web, {"acme": ["ed25519:" + "0" * 64, index.key.public.text], "other": []})
    assert verify(home, index, domain).proof == recorded(index)
    assert recorded(index).domain == domain
    snapshot = IndexSnapshot.enclosed(index.writer.repo, index.writer.head)
    build_site(snapshot, tmp_path / "site", Site(url="https://experts.example.org/"))
    shown = json.loads((tmp_path / "site/publishers/acme.json").read_text())
    assert shown["domain"] == domain
    assert shown["domain_checked_at"] == recorded(index).checked_at
    assert f"{domain}, asked 20" in (tmp_path / "site/publishers/acme.html").read_text()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"publishers": {}}', "does not say that"),
        (b'{"publishers": {"acme": []}}', "does not say that"),
        (b'{"publishers": {"acme": "ed25519:"}}', "must be an array"),
        (b'{"publishers": {"acme": [1]}}', "must be a string"),
        (b"[]", "must be an object"),
        (b"{}", "publishers is missing"),
        (b"<html>", "JSON"),
        (b"[" * 50_000, "deeper"),
    ],
)
def test_what_does_not_name_the_keys_is_recorded_nowhere(index, home, web, domain, body, message):
    web.serve(WELL_KNOWN, body)
    with pytest.raises(NotProvedError, match=message):
        verify(home, index, domain)
    assert recorded(index) is None


def test_nobody_else_speaks_for_a_domain(index, home, web, domain):
    with serve_web() as other:
        say(other, {"acme": [index.key.public.text]})
        web.serve(WELL_KNOWN, redirect=other.url + WELL_KNOWN)
        with pytest.raises(NotProvedError, match="redirects to elsewhere"):
            verify(home, index, domain)
    web.pages.clear()
    with pytest.raises(NotProvedError, match="does not vouch for acme"):
        verify(home, index, domain)
    web.serve(WELL_KNOWN, b" " * (70 << 10))
    with pytest.raises(WebError, match="more than 65536 bytes"):
        verify(home, index, domain)


def test_every_key_in_use_must_be_named(index, home, web, domain):
    say(web, {"acme": [index.key.public.text]})
    verify(home, index, domain)
    second = SigningKey.generate().public
    maintain.add_publisher(home, str(index.path), "acme", second, keys=index.index_keys.ring)
    assert recorded(index) is None
    with pytest.raises(NotProvedError, match=second.key_id):
        verify(home, index, domain)
    maintain.revoke(home, str(index.path), "acme", second.key_id, keys=index.index_keys.ring)
    assert verify(home, index, domain).proof.domain == domain


def test_refreshing_asks_again(index, home, web, domain):
    say(web, {"acme": [index.key.public.text]})
    verify(home, index, domain)
    first, listening = recorded(index), Listening()
    asked = len(web.requests)
    maintain.refresh(home, str(index.path), keys=Keyring([index.index_keys.online]), progress=listening)
    assert len(web.requests) == asked  # nothing could be recorded without the targets key
    web.pages[WELL_KNOWN].answers.append((503, {}))
    maintain.refresh(home, str(index.path), keys=index.index_keys.ring, progress=listening)
    assert recorded(index) == first
    assert "could not be asked" in listening.warnings[-1]
    say(web, {"acme": []})
    maintain.refresh(home, str(index.path), keys=index.index_keys.ring, progress=listening)
    assert recorded(index) is None
    assert "no longer vouched for" in listening.warnings[-1]


def test_it_needs_the_targets_key(index, home, web, domain):
    say(web, {"acme": [index.key.public.text]})
    with pytest.raises(KeyFileError, match="targets needs 1 of its keys"):
        verify(home, index, domain, keys=Keyring([index.index_keys.online]))
    assert recorded(index) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example",
        "https://example.org",
        "example.org/x",
        "a@b.org",
        "-a.org",
        "93.184.216.34",
        "example.org:99999",
        "example.org:",
        "ä.org",
        "a" * 300,
    ],
)
def test_what_is_no_domain(text):
    with pytest.raises(IndexFormatError, match="is no domain"):
        parse_domain(text)


def test_a_domain_is_in_small_letters():
    assert parse_domain(" Example.ORG:8443") == "example.org:8443"
