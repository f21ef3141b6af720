"""Sources survive being typed and being kept in xpm.toml, and whatever is typed, only UsageError is raised."""

import contextlib
import tomllib
from pathlib import Path

import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from xpm.errors import ProjectError, UsageError
from xpm.parse_source import parse_source
from xpm.sources import FromAdapter, FromArchive, FromFolder, FromGit, FromIndex, FromUrl, Source, from_toml, to_toml
from xpm_index.errors import XpmError
from xpm_index.fields import Fields
from xpm_index.requirements import Requirement
from xpm_index.urls import InvalidUrl, check_git_url, check_path, check_tag

FOLDER = Path("/nonexistent/project")
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.from_regex(r"[a-z][a-z0-9]{0,8}\.example(:[1-9][0-9]{0,3})?", fullmatch=True)
PATHS = st.lists(st.from_regex(r"[A-Za-z0-9_~+][A-Za-z0-9_.~+-]{0,8}", fullmatch=True), min_size=1, max_size=4).map(
    "/".join
)
TAGS = st.text(st.characters(exclude_characters="#"), min_size=1, max_size=20)
RANGES = st.sampled_from(["*", "^1.2", ">=1.0,<2", "~1.2.3", "1.x", "<1 || >=2"])
REQUIREMENTS = st.builds(
    lambda namespace, name, wanted: Requirement.parse(f"{namespace}{name}@{wanted}"),
    st.one_of(st.just(""), NAMES.map("{}/".format)),
    NAMES,
    RANGES,
)
URLS = st.one_of(
    st.builds("https://{}/{}".format, HOSTS, PATHS),
    st.builds("ssh://git@{}/{}".format, HOSTS, PATHS),
    st.builds("file:///{}".format, PATHS),
    st.builds("git@{}.example:{}".format, NAMES, PATHS),
)


def passes(check, text: str) -> bool:
    try:
        return check(text) == text
    except InvalidUrl:
        return False


GITS = st.builds(
    FromGit,
    url=URLS,
    tag=TAGS.filter(lambda tag: passes(check_tag, tag)),
    subpath=st.one_of(st.just(""), PATHS.filter(lambda path: passes(check_path, path))),
)
WEBS = st.builds(
    FromUrl,
    url=st.builds("https://{}/{}.expert".format, HOSTS, PATHS),
    sha256=st.one_of(st.just(""), st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
)
HUB_IDS = st.from_regex(
    r"[A-Za-z0-9][\w.-]{0,9}/[A-Za-z0-9][\w.-]{0,9}(@[A-Za-z0-9][\w-]{0,9})?",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)
ADAPTERS = st.builds(FromAdapter, adapter=HUB_IDS.map("hf:{}".format))
LOCAL = st.one_of(
    st.builds(FromArchive, path=PATHS.map(lambda path: Path(f"{path}.expert"))),
    st.builds(FromFolder, path=PATHS.map(Path)),
    st.builds(FromAdapter, adapter=PATHS),
    ADAPTERS,
)
INDEXES = st.builds(FromIndex, requirement=REQUIREMENTS)


@given(st.one_of(GITS, WEBS, INDEXES))
def test_what_is_typed_comes_back(source: Source):
    assert parse_source(str(source), folder=FOLDER) == source


@given(ADAPTERS)
def test_an_adapter_that_is_typed_comes_back(source: FromAdapter):
    assert parse_source(source.adapter, folder=FOLDER) == source


@given(st.one_of(GITS, WEBS, LOCAL, INDEXES, st.builds(FromIndex, requirement=REQUIREMENTS, index=NAMES)))
def test_what_is_kept_comes_back(source: Source):
    name = str(source.requirement.name) if isinstance(source, FromIndex) else "expert-x"
    document = tomllib.loads(tomli_w.dumps({"experts": {name: to_toml(source)}}))
    assert from_toml(name, Fields(document, error=ProjectError).object("experts")) == source


@given(
    st.one_of(
        st.text(max_size=60),
        st.builds("{}{}".format, st.sampled_from(["git+", "https://", "git+ssh://", "a@"]), st.text()),
    )
)
def test_only_usage_errors_are_raised(text: str):
    with contextlib.suppress(UsageError):
        parse_source(text, folder=FOLDER)


@given(st.text())
def test_git_urls_never_look_like_options(text: str):
    try:
        check_git_url(text)
    except XpmError:
        return
    host = text.partition("://")[2] or text
    assert not text.startswith("-")
    assert not host.startswith("-")
