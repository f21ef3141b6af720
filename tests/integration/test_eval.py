"""``xpm eval``: a file of prompts is answered and judged."""

import json

import pytest
from click.testing import CliRunner

from tests.integration.test_run import ANSWER, QUESTION
from xpm.cli.main import cli

OSLO = "Convert to JSON: city is Oslo, population is 709037"
CASES = [
    {"prompt": QUESTION, "expected": ANSWER},
    {"prompt": OSLO, "expected": '{"population": 709037, "city": "Oslo"}', "judge": "json"},
    {"prompt": OSLO, "expected": "Bergen", "judge": "contains", "expert": "expert-json"},
    {"prompt": QUESTION, "expected": "^SELECT", "judge": "regex", "expert": ["expert-sql"]},
    {"prompt": "x " * 3000, "expected": "x", "expert": []},
]


@pytest.fixture
def run(home, tmp_path, monkeypatch):
    """``run(cases, …)`` for `xpm eval` of these cases."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPM_HOME", str(home))

    def call(cases, *options):
        lines = [case if isinstance(case, str) else json.dumps(case) for case in cases]
        (tmp_path / "cases.jsonl").write_text("\n".join(lines) + "\n")
        return CliRunner().invoke(cli, ["eval", "cases.jsonl", *options])

    return call


def test_answers_are_judged(run):
    done = run(CASES, "--json", "--min-share", "0.6")
    assert done.exit_code == 0, done.exception or done.output
    found = json.loads(done.stdout)
    assert (found["right"], found["of"], found["share"]) == (3, 5, 0.6)
    assert [each["right"] for each in found["answers"]] == [True, True, False, True, False]
    assert [each["experts"] for each in found["answers"]] == [
        ["expert-sql"],
        ["expert-json"],
        ["expert-json"],
        ["expert-sql"],
        [],
    ]
    assert "a lane holds" in found["answers"][4]["reason"]


def test_the_table_the_failures_and_the_exit_code(run):
    done = run(CASES[:4], "-v", "--min-share", "0.9")
    assert done.exit_code == 11
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["experts", "judge", "right", "of", "share"]
    assert "expert-json  contains  0      1   0.0%" in lines
    assert lines[5].split() == ["all", "3", "4", "75.0%"]
    assert lines[7].startswith("line 3: Convert to JSON")
    assert "expected  Bergen" in done.stdout
    assert "75.0% are right, fewer than the 90.0%" in done.stderr


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "line 1 is no object"),
        ("", "holds no case"),
        ({"prompt": "x"}, "line 1: expected must be a text"),
        ({"prompt": " ", "expected": "x"}, "line 1: prompt must be a text"),
        ({"prompt": "x", "expected": "(", "judge": "regex"}, "no regular expression"),
        ({"prompt": "x", "expected": "x", "judge": "prolog"}, "there is no judge 'prolog'"),
        ({"prompt": "x", "expected": "x", "judge": 3}, "judge must be a text"),
        ({"prompt": "x", "expected": "x", "expert": {}}, "expert must be a name"),
    ],
)
def test_a_line_that_is_no_case(case, message, run):
    error = run([case]).exception
    assert message in str(error)
    assert error.exit_code == 2


def test_answers_of_a_beam_search(run):
    done = run([CASES[0], CASES[4]], "--num-beams", "3", "--json")
    found = json.loads(done.stdout)
    assert [each["right"] for each in found["answers"]] == [True, False]
    assert "a lane holds" in found["answers"][1]["reason"]
