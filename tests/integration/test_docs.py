"""The documentation's Python is run, its links exist, and its shell commands are commands."""

import re
import shlex
from pathlib import Path

import pytest

from xpm.cli.main import COMMANDS
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.install import require_stored
from xpm.operations.installed import installed
from xpm.project import EMBEDDED_EXPERTS, Project

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder in which ``base``, ``expert-sql`` and ``expert-json`` are the ones that come with xpm."""
    folder = tmp_path_factory.mktemp("docs")
    Project(wants=EMBEDDED_EXPERTS).save(folder)
    environment = Environment.find(Home(folder / "home"), folder)
    require_stored(environment)
    for each in installed(environment):
        name = "base" if each.package.kind == "base" else each.package.name
        (folder / name).symlink_to(each.folder, target_is_directory=True)
    return folder


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "```python" in page.read_text() and page.name != "serve.md"],  # it needs a server
    ids=lambda page: page.name,
)
def test_python_runs(page, unpacked, monkeypatch):
    monkeypatch.chdir(unpacked)
    monkeypatch.setenv("XPM_HOME", str(unpacked / "home"))
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(code, page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files_exist(page):
    for path in re.findall(r"`((?:docs|tests|build|xpm|runtime|index|examples)/[\w./-]+)`", page.read_text()):
        if "." not in Path(path).name and not path.endswith("/"):
            continue  # a command such as `xpm/…` or a module path
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_linked_files_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"`[^`]*`", "", _without_code(page.read_text()))):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_lines_are_wrapped(page):
    """At 100 columns; tables and code may be longer."""
    for line in _without_code(page.read_text()).splitlines():
        assert len(line) <= 100 or line.lstrip().startswith("|"), line


def _without_code(text):
    return re.sub(r"^```.*?^```$|^    \S[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_shell_lines_name_commands(page):
    for line in re.findall(r"^(?:    |\$ )xpm (.*)$", page.read_text().replace("\\\n", ""), re.MULTILINE):
        assert shlex.split(line, comments=True)[0] in COMMANDS, line
