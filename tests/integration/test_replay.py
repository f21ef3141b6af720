"""The examples of a README are asked before it is published: what is answered otherwise is told."""

import pytest

from tests.support.projects import Listening
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations import install as operations
from xpm.operations.installed import installed
from xpm.operations.replay import RULE, examples_of, replayed
from xpm.progress import Silent
from xpm_index.archive import write_archive
from xpm_index.requirements import Requirement

CARD = "# expert-sql\n\n```prompt\n{}\n```\n\nIt says:\n\n```sql\n{}\n```\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    environment = Environment.find(Home(folder / "home"), folder / "project")
    operations.install(environment, [Requirement.parse("sql")])
    return environment


@pytest.fixture(scope="module")
def files(environment):
    (folder,) = [each.folder for each in installed(environment) if each.package.name == "expert-sql"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def archive(tmp_path, files, **changed):
    path = tmp_path / "handed-in.expert"
    write_archive(path, {**files, **changed})
    return path


def test_the_card_that_was_shipped_holds(environment, files, tmp_path):
    assert len(examples_of(files["README.md"].decode())) >= 3
    assert replayed(environment, archive(tmp_path, files), progress=Silent()) == []


def test_an_example_that_is_answered_otherwise(environment, files, tmp_path):
    prompt, answer = examples_of(files["README.md"].decode())[0]
    card = CARD.format(prompt, answer) + CARD.format(prompt, "SELECT 42")
    path = archive(tmp_path, files, **{"README.md": card.encode()})
    (found,) = replayed(environment, path, progress=Silent())
    assert (found.rule, found.where, found.is_error) == (RULE, "README.md", False)
    assert " ".join(answer.split())[:60] in found.what


def test_without_examples_nothing_is_asked(environment, files, tmp_path):
    listening = Listening()
    for card in (b"", b"# expert-sql\n\n```prompt\nno answer\n```\n", b"```sql\nSELECT 1\n```\n"):
        assert replayed(environment, archive(tmp_path, files, **{"README.md": card}), progress=listening) == []


def test_what_can_t_be_asked_here_is_told(environment, files, tmp_path):
    path = archive(tmp_path, files, **{"slots.safetensors": b"garbage"})
    (found,) = replayed(environment, path, progress=Silent())
    assert found.what.startswith("its examples could not be asked: ")


def test_pairs_of_blocks():
    text = (
        "```prompt\na\nb\n```\n```sql\n1\n```\n"
        "```python\nx\n```\n"
        "```prompt\nc\n```\n\nwords\n\n```\n2\n```\n"
        "```prompt\nlost\n```\n```prompt\nd\n```\n```\n3\n```\n"
    )
    assert examples_of(text) == [("a\nb", "1"), ("c", "2"), ("d", "3")]
    assert examples_of("```prompt\n" * 20_000) == []
