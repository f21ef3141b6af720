"""The static site of an index: complete, deterministic, incremental, harmless whatever the texts are."""

import contextlib
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.pages import broken_links, read_page
from tests.support.payloads import PAYLOADS
from tests.support.shelf import Shelved, make_shelf
from tests.support.simulator import IndexSimulator
from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations import market
from xpm.project import EMBEDDED
from xpm.site.build import STATE, build_site
from xpm.site.pages import Site
from xpm_index.entries import Yanked
from xpm_index.errors import IndexFormatError, TrustError
from xpm_index.provenance import Dependency, Provenance
from xpm_index.reviews import check_text

URL = "https://experts.example.org/market/"
SITE = Site(url=URL, clone_url="https://git.example.org/shelf.git")
README = (
    "# expert-a\n\n## Examples\n\n```prompt\nask\n```\n\n```sql\nSELECT 1;\n```\n\nSee [the "
    "web](https://example.org).\n"
)
METRICS = {"metric": "accuracy", "circles": {"rows": {"cases": 500, "right": 93.8, "base": 0.0}}}
SHELF = [
    Shelved(name="xpm-tiny", more={"kind": "base", "description": "small"}),
    Shelved(
        name="expert-a",
        more={
            "description": "answers with SQL",
            "capabilities": ["sql", "text to sql"],
            "license": "MIT",
            "quality_metrics": METRICS,
            "limitations": ["two tables at most"],
            "training": {"config": {"rank": 16, "seeds": [1, 2]}},
        },
        readme=README,
    ),
    Shelved(name="expert-a", version="0.9.0", published_at="2026-01-15T00:00:00Z", yanked=Yanked(reason="wrong data")),
    Shelved(
        name="expert-b",
        more={
            "capabilities": ["sql"],
            "constraints": {"requires": ["a@^1", "expert-gone"], "incompatible_with": ["expert-c"]},
        },
    ),
    Shelved(name="expert-c", source="https://example.org/c.expert", more={"capabilities": ["chess"]}),
]


@pytest.fixture
def shelf(tmp_path):
    return make_shelf(tmp_path / "shelf.git", SHELF)


def files_of(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != STATE}


def page(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


# What there is


def test_every_link_leads_somewhere(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    assert list(broken_links(tmp_path / "site", URL)) == []


def test_every_link_of_what_comes_with_xpm_leads_somewhere(tmp_path):
    market.build(Environment.find(Home(tmp_path / "home"), tmp_path), EMBEDDED, tmp_path / "site", url=URL)
    assert (tmp_path / "site/experts/expert-sql.html").is_file()
    assert list(broken_links(tmp_path / "site", URL)) == []


@pytest.mark.parametrize(
    "name",
    ["experts/expert-a.html", "feed.xml", "sitemap.xml", "robots.txt", "publishers/acme.json", "words/73-71.json"],
)
def test_a_broken_link_is_found_wherever_it_is(shelf, tmp_path, name):
    build_site(shelf, tmp_path / "site", SITE)
    path = tmp_path / "site" / name
    text = path.read_text()
    path.write_text(
        text.replace("sitemap.xml", "sitemaps.xml") if name == "robots.txt" else text.replace("expert-a", "expert-z")
    )
    assert any(each.startswith(f"{name}: ") for each in broken_links(tmp_path / "site", URL))


def test_every_page_has_its_json_and_its_headings(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    for path in (tmp_path / "site").rglob("*.html"):
        assert path.with_suffix(".json").is_file()
        elements = read_page(path.read_text()).elements
        assert [tag for tag, _ in elements].count("h1") == 1
        assert len({given["id"] for _, given in elements if "id" in given}) == sum(
            "id" in given for _, given in elements
        )
        assert path.stat().st_size < 60_000


def test_an_expert_s_page_says_what_is_known_of_it(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    document = page(tmp_path / "site", "experts/expert-a")
    (circle,) = document["circles"]
    assert (circle["expert"]["right"], circle["base"]["right"]) == (0.938, 0.0)
    assert circle["expert"]["low"] < 0.938 < circle["expert"]["high"]
    assert circle["base"]["low"] == 0.0 < circle["base"]["high"]
    assert document["examples"] == [{"prompt": "ask\n", "answer": "SELECT 1;\n", "language": "sql"}]
    assert [(each["version"], each["yanked"] is not None) for each in document["versions"]] == [
        ("1.0.0", False),
        ("0.9.0", True),
    ]
    assert document["limitations"] == ["two tables at most"]
    assert {"key": "training.config.seeds", "value": "1, 2"} in document["provenance"]
    text = read_page((tmp_path / "site/experts/expert-a.html").read_text()).text
    for told in ("xpm install expert-a", "93.8 %", "wrong data", "SELECT 1;", "two tables at most", "MIT"):
        assert told in text


def test_an_expert_s_page_says_what_it_was_built_of(tmp_path):
    source = Dependency.of("source", uri="git+https://git.example.org/<b>", digests={"gitCommit": "0a" * 20})
    stated = Provenance(
        builder="https://ci.example.org/x", tool="0.1.0", parameters={}, dependencies=(source,), files={}
    )
    packages = [Shelved(name="expert-a", provenance=stated), Shelved(name="expert-b")]
    build_site(make_shelf(tmp_path / "shelf.git", packages), tmp_path / "site", SITE)
    document = page(tmp_path / "site", "experts/expert-a")
    assert document["built"] == (
        "built by xpm 0.1.0 on https://ci.example.org/x, of commit 0a0a0a0a0a0a of git+https://git.example.org/<b>"
    )
    assert {"key": "source", "value": f"git+https://git.example.org/<b> gitCommit:{'0a' * 20}"} in document[
        "provenance"
    ]
    text = (tmp_path / "site/experts/expert-a.html").read_text()
    assert "1.0.0 was built by xpm 0.1.0 on https://ci.example.org/x" in text
    assert "&lt;b&gt;" in text
    assert page(tmp_path / "site", "experts/expert-b")["built"] == ""


def test_requirements_link_to_what_is_there_under_either_spelling(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    document = page(tmp_path / "site", "experts/expert-b")
    assert [(each["name"], each["kind"]) for each in document["requires"]] == [
        ("expert-a", "expert"),
        ("expert-gone", None),
    ]
    assert document["graph"]["edges"] == [["expert-b", "expert-a"], ["expert-b", "expert-gone"]]
    assert "<svg" in (tmp_path / "site/experts/expert-b.html").read_text()
    assert page(tmp_path / "site", "experts/expert-a")["dependents"] == [{"name": "expert-b", "kind": "expert"}]
    assert [each["name"] for each in page(tmp_path / "site", "index")["most_depended_on"]] == ["expert-a"]
    assert (tmp_path / "site/compare/expert-a/expert-b.html").is_file()


def test_feed_and_sitemap_are_xml_that_names_the_pages(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    atom = ElementTree.fromstring((tmp_path / "site/feed.xml").read_bytes())
    links = [each.attrib["href"] for each in atom.iter("{http://www.w3.org/2005/Atom}link")]
    places = [
        each.text for each in ElementTree.fromstring((tmp_path / "site/sitemap.xml").read_bytes()).iter() if each.text
    ]
    assert f"{URL}experts/expert-a.html" in links
    for address in [*links, *(each for each in places if each.strip())]:
        assert (tmp_path / "site" / address.removeprefix(URL)).is_file()


def test_search_finds_a_word_in_the_file_of_its_beginning(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    records = json.loads((tmp_path / f"site/words/{ord('c'):x}-{ord('h'):x}.json").read_text())
    assert [each[0] for each in records] == ["expert-c"]


def test_a_long_listing_has_pages(tmp_path):
    many = [Shelved(name=f"expert-{number:03}", source="https://example.org/x.expert") for number in range(101)]
    build_site(make_shelf(tmp_path / "shelf.git", many), tmp_path / "site", SITE)
    assert (page(tmp_path / "site", "search")["pages"], len(page(tmp_path / "site", "search/2")["packages"])) == (2, 1)
    assert list(broken_links(tmp_path / "site", URL)) == []


# The same again


def test_the_same_snapshot_gives_the_same_bytes(shelf, tmp_path):
    build_site(shelf, tmp_path / "one", SITE)
    build_site(shelf, tmp_path / "two", SITE)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert build_site(shelf, tmp_path / "one", SITE).num_rendered == 0


def test_only_what_changed_is_rendered_and_the_outcome_is_that_of_a_new_site(shelf, tmp_path):
    first = build_site(shelf, tmp_path / "site", SITE)
    more = [*SHELF, Shelved(name="expert-c", version="1.1.0", published_at="2026-03-01T00:00:00Z")]
    after = make_shelf(tmp_path / "shelf.git", more)
    second = build_site(after, tmp_path / "site", SITE)
    assert 0 < second.num_rendered < first.num_pages / 2
    build_site(after, tmp_path / "new", SITE)
    assert files_of(tmp_path / "site") == files_of(tmp_path / "new")
    build_site(shelf, tmp_path / "site", SITE)  # and back
    build_site(shelf, tmp_path / "old", SITE)
    assert files_of(tmp_path / "site") == files_of(tmp_path / "old")


def test_what_is_gone_from_the_index_is_gone_from_the_site(shelf, tmp_path):
    build_site(shelf, tmp_path / "site", SITE)
    smaller = make_shelf(tmp_path / "smaller.git", SHELF[:3])
    assert build_site(smaller, tmp_path / "site", SITE).num_removed > 0
    assert not (tmp_path / "site/experts/expert-b.html").exists()
    assert list(broken_links(tmp_path / "site", URL)) == []


def test_a_build_that_was_cut_off_is_followed_by_a_whole_one(shelf, tmp_path, monkeypatch):
    build_site(shelf, tmp_path / "site", SITE)
    after = make_shelf(tmp_path / "shelf.git", [replace(SHELF[0], version="2.0.0"), *SHELF])

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr("xpm.site.build.atom", fail)
    with pytest.raises(OSError, match="no room"):
        build_site(after, tmp_path / "site", SITE)
    monkeypatch.undo()
    build_site(shelf, tmp_path / "site", SITE)
    build_site(shelf, tmp_path / "new", SITE)
    assert files_of(tmp_path / "site") == files_of(tmp_path / "new")


def test_a_folder_of_something_else_is_left_alone(shelf, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="is not empty"):
        build_site(shelf, tmp_path / "site", SITE)
    assert [each.name for each in (tmp_path / "site").iterdir()] == ["thesis.txt"]


# Hostile texts


def hostile(number: int, payload: str) -> Shelved:
    """An expert with a payload in every text that a publisher or maintainer can choose."""
    key = payload[:60]
    return Shelved(
        name=f"expert-{number:03}",
        more={
            "description": payload,
            "license": payload,
            "author": payload,
            "capabilities": [payload],
            "tags": [payload],
            "routing": {"keywords": [payload]},
            "limitations": [payload, {"description": payload}],
            "quality_metrics": {key: payload, "circles": {key: {"cases": 3, "right": 50}}},
            "training": {key: [payload, {"x": payload}]},
            "build": payload,
        },
        readme=f"# {payload}\n\n{payload}\n\n```prompt\n{payload}\n```\n\n```{payload}\n{payload}\n```\n",
        yanked=Yanked(reason=payload, severity=payload, replacement=payload) if number % 2 else None,
        entry={"tags": (payload,)},
    )


def said() -> dict[str, str]:
    """Name → review, for every payload that a review may hold at all."""
    found = {}
    for number, payload in enumerate(PAYLOADS):
        with contextlib.suppress(IndexFormatError):
            found[f"expert-{number:03}"] = check_text(payload)
    assert len(found) > 190
    return found


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    packages = [hostile(number, payload) for number, payload in enumerate(PAYLOADS)]
    links = [
        Shelved(name=f"expert-link-{number:03}", source=f"https://example.org/{payload}")
        for number, payload in enumerate(PAYLOADS)
    ]
    snapshot = make_shelf(
        folder / "shelf.git",
        [*packages, *links],
        reviews=said(),
        contact=PAYLOADS[0],
        homepage='javascript:alert(1)//"onclick=alert(1)',
    )
    built = build_site(snapshot, folder / "site", Site())
    assert built.problems == {}
    return folder / "site"


def test_no_text_of_an_index_becomes_markup(hostile_site):
    num_pages = 0
    for path in hostile_site.rglob("*.html"):
        num_pages += 1
        for tag, given in read_page(path.read_text()).elements:
            assert tag not in ("iframe", "object", "embed", "base", "style", "img", "math", "textarea", "template")
            assert not [key for key in given if key.startswith("on") or key in ("style", "srcdoc", "formaction")]
            if tag == "script":
                assert (given.get("src") or "").endswith("site.js")
            for key in ("href", "src", "action"):
                value = given.get(key) or ""
                assert ":" not in value.split("/")[0] or value.startswith(("http://", "https://")), value
    assert num_pages > 2 * len(PAYLOADS)


def test_hostile_texts_are_shown_as_they_are(hostile_site):
    text = read_page((hostile_site / "experts/expert-000.html").read_text()).text
    assert text.count(PAYLOADS[0]) > 11


def test_no_link_of_a_hostile_site_is_broken(hostile_site):
    assert list(broken_links(hostile_site, URL)) == []


def test_hostile_texts_leave_feed_and_words_well_formed(hostile_site):
    ElementTree.fromstring((hostile_site / "feed.xml").read_bytes())
    for path in hostile_site.rglob("*.json"):
        json.loads(path.read_text())


# By an index's name, path or URL


@pytest.mark.parametrize("where", ["name", "path", "url"])
def test_an_index_is_named_by_name_path_or_url(where, index, environment, tmp_path):
    named = {"name": "main", "path": str(index.path), "url": index.url}[where]
    built = market.build(environment, named, tmp_path / "site")
    assert built.problems == {}
    status = page(tmp_path / "site", "status")
    assert [each["name"] for each in status["roles"]][:2] == ["root", "targets"]
    assert status["fingerprint"] == index.fingerprint
    assert (tmp_path / "site/experts/expert-a.html").is_file()


def test_another_root_than_the_trusted_one_is_refused(index, environment, tmp_path):
    with pytest.raises(TrustError):
        market.build(environment, str(index.path), tmp_path / "site", fingerprint="sha256:" + "0" * 64)
    assert not (tmp_path / "site").exists()


def test_what_nothing_vouches_for_is_not_shown_and_said(index: IndexSimulator, environment, tmp_path):
    market.build(environment, str(index.path), tmp_path / "site")
    from xpm_index.layout import entry_path

    path = entry_path("expert-a")
    altered = (index.writer.read(path) or b"").replace(b"about expert-a", b"about expert-z")
    index.writer.repo.commit_files({path: altered}, message="x", author="x <x@localhost>")
    built = market.build(environment, str(index.path), tmp_path / "site")
    assert "is not what the index's metadata promises" in built.problems["expert-a"]
    assert not (tmp_path / "site/experts/expert-a.html").exists()
    assert page(tmp_path / "site", "status")["problems"][0]["name"] == "expert-a"
