"""What building says of an expert's grammar."""

import json

import pytest

from tests.support.packages import make_manifest
from xpm_build.errors import BuildError
from xpm_build.grammar_check import check_grammar

YES_OR_NO = 'root ::= "yes" | "no"'


@pytest.fixture
def checked(tmp_path):
    """``checked(files, **decoding)``: the lines that are reported of a folder with these files."""

    def check(files, **decoding):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        lines = []
        check_grammar(tmp_path, make_manifest("expert-x", decoding=decoding), lines.append)
        return lines

    return check


def test_the_share_of_training_answers_that_fit_is_reported(checked):
    rows = [{"prompt": "?", "completion": text} for text in ("yes", "no", "maybe", "yes")]
    files = {"grammar.gbnf": YES_OR_NO, "data/train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
    assert checked(files) == ["the grammar fits 75.0% of 4 training answers", "one that it does not fit: maybe"]
    assert checked({}, use_grammar=True)[0].startswith("the grammar fits 75.0%")


@pytest.mark.parametrize(
    ("files", "decoding", "reported"),
    [
        ({}, {}, []),
        ({}, {"use_grammar": True, "grammar_type": "sql_postgres"}, ["the grammar compiles; there are no training"]),
        (
            {"a.json": '{"type": "integer"}'},
            {"grammar_file": "a.json"},
            ["the grammar compiles; there are no training"],
        ),
    ],
)
def test_what_is_asked_for_or_shipped_is_compiled(files, decoding, reported, checked):
    assert [line[:42] for line in checked(files, **decoding)] == [line[:42] for line in reported]


@pytest.mark.parametrize(
    ("files", "decoding", "message", "context"),
    [
        ({"grammar.gbnf": "root ::= word"}, {}, "the rule word is not defined", "line 1, column 10"),
        ({"grammar.gbnf": "root ::= word"}, {"use_grammar": True}, "the rule word is not defined", "line 1"),
        ({"a.json": '{"not": {}}'}, {"grammar_file": "a.json"}, "can't be enforced: not", ""),
        ({}, {"use_grammar": True}, "there is no grammar", "grammar_type is ''"),
        ({}, {"use_grammar": True, "grammar_type": "prose"}, "there is no grammar", "'prose'"),
        ({}, {"use_grammar": True, "grammar_file": "../x.gbnf"}, "leads out of the package", "../x.gbnf"),
        ({}, {"use_grammar": True, "grammar_file": "x.gbnf"}, "can't be read", "No such file"),
    ],
)
def test_what_does_not_compile_is_not_built(files, decoding, message, context, checked):
    with pytest.raises(BuildError, match=message) as raised:
        checked(files, **decoding)
    assert context in (raised.value.context or "")
