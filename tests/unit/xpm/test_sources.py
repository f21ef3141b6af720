"""Where an expert comes from: what is typed, what stands in xpm.toml, and what is refused."""

from pathlib import Path

import pytest

from xpm.errors import ProjectError, UsageError
from xpm.parse_source import parse_source
from xpm.sources import FromAdapter, FromArchive, FromFolder, FromGit, FromIndex, FromUrl, from_toml, to_toml
from xpm_index.archive_sources import BlobSource, FileSource, GitSource, WebSource, parse_archive_source
from xpm_index.errors import XpmError
from xpm_index.fields import Fields
from xpm_index.requirements import Requirement
from xpm_index.urls import holds_credentials, shown

HEX = "ab" * 32


@pytest.fixture
def folder(tmp_path) -> Path:
    """A project with an archive and a publisher's folder beside it."""
    project = tmp_path / "team" / "project"
    (project / "dist").mkdir(parents=True)
    (project / "dist" / "x.expert").write_bytes(b"")
    (project / "notes.txt").write_bytes(b"")
    (tmp_path / "team" / "expert-y").mkdir()
    (project / "expert-sql").mkdir()
    return project


def parse(text: str, folder: Path, **options):
    return parse_source(text, folder=folder, **options)


@pytest.mark.parametrize(
    "text", ["expert-sql", "sql@^1.2", "acme/expert-sql", "acme/sql@>=1,<2", "sql>=1.0", "sql==1.0.0"]
)
def test_requirements(text, folder):
    assert parse(text, folder) == FromIndex(requirement=Requirement.parse(text))


GIT = {
    "git+https://host.example/u/r.git@v1.2.0": ("https://host.example/u/r.git", "v1.2.0", ""),
    "git+https://host.example/u/r@v1#experts/sql": ("https://host.example/u/r", "v1", "experts/sql"),
    "git+https://host.example/u/r@v1#subdirectory=experts/sql/": ("https://host.example/u/r", "v1", "experts/sql"),
    "git+https://host.example/u/r.git@expert-sql@1.0.0": ("https://host.example/u/r.git", "expert-sql@1.0.0", ""),
    "git+https://host.example/u/r.git@releases/v1": ("https://host.example/u/r.git", "releases/v1", ""),
    "git+ssh://git@host.example:2222/u/r.git@v1": ("ssh://git@host.example:2222/u/r.git", "v1", ""),
    "git+file:///srv/r.git@v1": ("file:///srv/r.git", "v1", ""),
    "git+http://localhost:8080/r.git@v1": ("http://localhost:8080/r.git", "v1", ""),
    "git+http://[::1]:8080/r.git@v1": ("http://[::1]:8080/r.git", "v1", ""),
    "git@host.example:u/r.git@v1#a/b": ("git@host.example:u/r.git", "v1", "a/b"),
    "git+git@host.example:u/r.git@v1": ("git@host.example:u/r.git", "v1", ""),
}


@pytest.mark.parametrize("text", GIT)
def test_git(text, folder):
    url, tag, subpath = GIT[text]
    assert parse(text, folder) == FromGit(url=url, tag=tag, subpath=subpath)


def test_urls(folder):
    assert parse("https://host.example/x.expert", folder) == FromUrl(url="https://host.example/x.expert")
    source = parse(f"https://host.example/x.expert?download=1#sha256={HEX.upper()}", folder)
    assert source == FromUrl(url="https://host.example/x.expert?download=1", sha256=HEX)
    assert source.digest == f"sha256:{HEX}"
    assert parse("http://127.0.0.1:8000/x.expert", folder) == FromUrl(url="http://127.0.0.1:8000/x.expert")


def test_local_paths_are_kept_relative_to_the_project_if_near(folder, tmp_path, monkeypatch):
    archive = FromArchive(path=Path("dist/x.expert"))
    file = folder / "dist" / "x.expert"
    for text in ("dist/x.expert", "./dist/x.expert", "dist/../dist/x.expert", str(file), file.as_uri()):
        assert parse(text, folder) == archive
    assert archive.locate(folder) == file
    assert parse("x.expert", folder, cwd=folder / "dist") == archive
    assert parse("../expert-y", folder, editable=True) == FromFolder(path=Path("../expert-y"))
    assert parse("expert-sql", folder, editable=True) == FromFolder(path=Path("expert-sql"))
    far = folder / "a" / "b" / "c" / "d"
    assert parse(str(file), far).path == file
    monkeypatch.setenv("HOME", str(folder))
    assert parse("~/dist/x.expert", tmp_path) == FromArchive(path=Path("team/project/dist/x.expert"))


def test_a_name_is_a_name_even_if_a_folder_is_called_so(folder):
    assert parse("expert-sql", folder) == FromIndex(requirement=Requirement.parse("expert-sql"))


REFUSED = {
    "": "does not say where",
    "-x": "does not say where",
    "--upload-pack=x": "does not say where",
    "a\nb": "does not say where",
    "sql\x1b[0m": "does not say where",
    "Not A Name": "is not a valid name",
    "notes.txt": "write ./notes.txt",
    "sql@not-a-range": "is not a version range",
    "sql @ git+https://host.example/r@v1": "stands before a URL",
    "git+https://host.example/r.git": "names no tag",
    "git@host.example:u/r.git": "names no tag",
    "git+https://host.example/r.git@": "is not the name of a Git tag",
    "git+https://host.example/r.git@-x": "is not the name of a Git tag",
    "git+https://host.example/r.git@a..b": "is not the name of a Git tag",
    "git+https://host.example/r.git@v1.lock": "is not the name of a Git tag",
    "git+https://host.example/r.git@v1#../x": "is not a path inside a repository",
    "git+https://host.example/r.git@v1#a//b": "is not a path inside a repository",
    "git+https://host.example/r.git@v1#.git/config": "is not a path inside a repository",
    "git+https://host.example@v1": "names no repository",
    "git+https://host.example/@v1": "names no repository",
    "git+https://host.example/r.git?x=1@v1": "has more than a path",
    "git+https://user:hunter2@host.example/r@v1": "holds credentials",
    "git+https://hunter2@host.example/r@v1": "holds credentials",
    "git+ssh://git:hunter2@host.example/r@v1": "holds credentials",
    "git+ssh://-oProxyCommand=x/r@v1": "names no host",
    "git+ssh://-oX@host.example/r@v1": "malformed user name",
    "-oProxyCommand=x@host:r@v1": "does not say where",
    "git+http://host.example/r@v1": "is not encrypted",
    "git+http://127.0.0.1.evil.example/r@v1": "is not encrypted",
    "git+git://host.example/r@v1": "not fetched over 'git'",
    "git+ext::sh -c x@v1": "is not a URL",
    "git+ext::sh@v1": "is not the URL of a Git repository",
    "git+file://elsewhere/r@v1": "is not of the form file:///",
    "git+host.example/r@v1": "is not the URL of a Git repository",
    "ssh://git:hunter2@host.example/r": "is of an unknown kind",
    "ftp://host.example/x.expert": "is of an unknown kind",
    "https://host.example/u/r": "is not an archive",
    "https://host.example/r.git": "write git+https://",
    "http://host.example/x.expert": "is not encrypted",
    "https://me:hunter2@host.example/x.expert": "holds credentials",
    "https://host.example/x.expert?access_token=hunter2": "holds credentials",
    "https://host.example/x.expert?X-Amz-Signature=hunter2": "holds credentials",
    "https://host.example/x.expert#sha256=hunter2": "64 hex digits",
    "https://host.example/x.expert#md5=00": "has an unknown part after `#`",
    "https://host.example:port/x.expert": "is not a URL",
    "https://hö.example/x.expert": "names no host",
    "https:///x.expert": "names no host",
    "./none.expert": "there is no",
    "hf:owner": "names no adapter",
    "hf:owner/x@": "names no adapter",
    "hf:owner/x@../y": "names no adapter",
    "hf:../x/y": "names no adapter",
    "hf:owner/x#file.bin": "names no adapter",
    "hf:ow ner/x": "names no adapter",
    "../expert-y": "is a folder",
    "./notes.txt": "is not an archive",
    "file:///none/x.expert": "there is no",
    "file://host.example/x.expert": "is not of the form file:///",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_and_how_it_is_told(text, folder):
    with pytest.raises(UsageError) as caught:
        parse(text, folder)
    error = caught.value
    told = f"{error.message} {error.context} {error.hint}"
    assert REFUSED[text] in told
    assert error.hint
    assert text.endswith("sha256=hunter2") or "hunter2" not in told
    assert not any(ord(character) < 32 for character in told)


@pytest.mark.parametrize(
    "text", ["git+https://host.example/r@v1", "https://host.example/x.expert", "notes.txt", "./none"]
)
def test_only_folders_are_editable(text, folder):
    with pytest.raises(UsageError):
        parse(text, folder, editable=True)


TOML = [
    ("^1.0", FromIndex(requirement=Requirement.parse("expert-x@^1.0"))),
    ({"version": "^1.0", "index": "acme"}, FromIndex(requirement=Requirement.parse("expert-x@^1.0"), index="acme")),
    ({"git": "https://h.example/r.git", "tag": "v1.2.0"}, FromGit(url="https://h.example/r.git", tag="v1.2.0")),
    (
        {"git": "git@h.example:r.git", "tag": "v1", "path": "a"},
        FromGit(url="git@h.example:r.git", tag="v1", subpath="a"),
    ),
    ({"url": "https://h.example/x.expert"}, FromUrl(url="https://h.example/x.expert")),
    ({"url": "https://h.example/x.expert", "sha256": HEX}, FromUrl(url="https://h.example/x.expert", sha256=HEX)),
    ({"archive": "dist/x.expert"}, FromArchive(path=Path("dist/x.expert"))),
    ({"folder": "../x", "editable": True}, FromFolder(path=Path("../x"))),
    ({"adapter": "hf:owner/x.lora@v1"}, FromAdapter(adapter="hf:owner/x.lora@v1")),
    ({"adapter": "adapters/x"}, FromAdapter(adapter="adapters/x")),
]


@pytest.mark.parametrize(("value", "source"), TOML)
def test_toml_and_back(value, source):
    assert from_toml("expert-x", Fields({"expert-x": value}, "experts", error=ProjectError)) == source
    assert to_toml(source) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "experts.expert-x must be a string"),
        ("nope", "experts.expert-x: 'nope' is not a version range"),
        ({}, "experts.expert-x must have one of"),
        ({"git": "https://h.example/r", "url": "https://h.example/x.expert"}, "experts.expert-x must have one of"),
        ({"git": "https://h.example/r"}, "experts.expert-x.tag is missing"),
        ({"git": "https://h.example/r", "tag": "-x"}, "experts.expert-x.tag: '-x' is not the name of a Git tag"),
        (
            {"git": "https://u:hunter2@h.example/r", "tag": "v1"},
            "experts.expert-x.git: the URL https://h.example/r holds",
        ),
        ({"git": "https://h.example/r", "tag": "v1", "path": "../.."}, "experts.expert-x.path: '../..' is not a path"),
        ({"git": "https://h.example/r", "tag": "v1", "branch": "x"}, "has the unknown key 'branch'"),
        ({"url": "http://h.example/x.expert"}, "experts.expert-x.url: http://h.example/x.expert is not encrypted"),
        ({"url": "https://h.example/x.expert", "sha256": "00"}, "experts.expert-x.sha256: sha256 is '00'"),
        ({"archive": "x.zip"}, "experts.expert-x.archive: 'x.zip' is not the path of a .expert"),
        ({"folder": "../x"}, "experts.expert-x is a folder without `editable = true`"),
        ({"folder": "../x", "editable": "yes"}, "experts.expert-x is a folder without `editable = true`"),
        ({"folder": "a\x00b", "editable": True}, "experts.expert-x.folder: 'a\\x00b' is not the path of a folder"),
    ],
)
def test_errors_in_toml_name_the_key(value, said):
    with pytest.raises(ProjectError) as caught:
        from_toml("expert-x", Fields({"expert-x": value}, "experts", error=ProjectError))
    assert said in caught.value.message
    assert "hunter2" not in f"{caught.value.message} {caught.value.context} {caught.value.hint}"


ARCHIVES = {
    "blob:archives/a/a.expert": BlobSource(path="archives/a/a.expert"),
    "https://h.example/a?x=1": WebSource(url="https://h.example/a?x=1"),
    "http://127.0.0.1:1/a": WebSource(url="http://127.0.0.1:1/a"),
    "file:///srv/a%20b": FileSource(url="file:///srv/a%20b"),
    "git+https://h.example/r.git#v1:dist/a": GitSource(url="https://h.example/r.git", tag="v1", path="dist/a"),
    "git+git@h.example:r#a@1:b": GitSource(url="git@h.example:r", tag="a@1", path="b"),
}


@pytest.mark.parametrize("text", ARCHIVES)
def test_sources_of_an_archive(text):
    assert parse_archive_source(text) == ARCHIVES[text]
    assert str(ARCHIVES[text]) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "blob:",
        "blob:../x",
        "http://h.example/a",
        "git+https://h.example/r",
        "git+https://h.example/r#v1",
        "git+https://h.example/r#v1:../x",
        "git+https://h.example/r#-x:a",
        "https://h.example/a b",
        "ipfs:x",
        "git+-x#v1:a",
        "https://u:p@h.example/",
        "file://h.example/x",
    ],
)
def test_sources_of_an_archive_that_are_not_followed(text):
    with pytest.raises(XpmError):
        parse_archive_source(text)


def test_only_sources_on_this_machine_are_local():
    assert [parse_archive_source(text).is_local for text in ARCHIVES] == [True, False, False, True, False, False]
    assert parse_archive_source("git+file:///srv/r#v1:a").is_local


def test_what_messages_show_of_a_url():
    assert shown("https://u:p@h.example/a?token=x#frag") == "https://h.example/a"
    assert shown("https://u:p@ss@h.example/a") == "https://h.example/a"
    assert "\n" not in shown("https://h\n.example/\x1b")


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        ("ssh://git@host/r.git", False),
        ("ssh://git:secret@host/r.git", True),
        ("https://host/r.git", False),
        ("https://user@host/r.git", True),
        ("https://user:secret@host/r.git", True),
        ("file:///r.git", False),
    ],
)
def test_what_counts_as_credentials(url, holds):
    assert holds_credentials(url) is holds
