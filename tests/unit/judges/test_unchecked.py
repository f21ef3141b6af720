"""Answers that are not run: rows without a check, and languages whose answers are compared as values or text."""

import pytest

from tests.support.sandbox import needs_sandbox
from xpm_build.errors import EvaluationError
from xpm_build.judges import judge_of, measure_of

_CODE = ("sql", "neo4j", "python", "typescript", "rust")
_GOLD = {
    "sql": "SELECT name FROM users WHERE age > 5",
    "neo4j": "MATCH (a:User) WHERE a.age > 5 RETURN a",
    "python": "def f(x):\n    return x > 5",
    "typescript": "function f(x: number): boolean { return x > 5; }",
    "rust": "fn f(x: i64) -> bool { x > 5 }",
}
_FORMS = {
    "completion": lambda gold: {"prompt": "?", "completion": gold},
    "messages": lambda gold: {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": gold}]},
    "preference": lambda gold: {"prompt": "?", "chosen": gold, "rejected": "no"},
    "a check that is none": lambda gold: {"prompt": "?", "completion": gold, "check": "SELECT 1"},
}


@pytest.mark.parametrize("language", _CODE)
@pytest.mark.parametrize("form", _FORMS)
def test_a_row_without_a_check_is_compared_as_text(language, form):
    gold = _GOLD[language]
    answers = [gold.replace(" ", "  "), gold.replace("> 5", "< 5"), ""]
    found = judge_of(language)([_FORMS[form](gold)] * 3, answers)
    assert [(each.right, each.parses) for each in found] == [(True, True), (False, True), (False, False)]
    assert all("no check to run" in each.reason for each in found)


@pytest.mark.parametrize(
    ("language", "broken"),
    [("sql", "SELECT 'abc"), ("python", "def f("), ("rust", "fn f("), ("typescript", "function (")],
)
def test_what_is_not_run_is_parsed(language, broken):
    assert not judge_of(language, execution=False)([{"completion": "x"}], [broken])[0].parses


@pytest.mark.parametrize("language", _CODE)
def test_without_execution_code_is_compared_but_for_spaces(language):
    gold = _GOLD[language]
    row = {"completion": gold, "check": {"tables": []}}
    found = judge_of(language, execution=False)([row] * 3, [gold + "\n", gold.replace("> 5", "< 5"), gold.upper()])
    assert [each.right for each in found] == [True, False, False]
    assert all("nothing was run" in each.reason for each in found)


def test_messages_and_other_values_are_answers_too():
    assert judge_of("json")([_FORMS["messages"]('{"a": 1}')], ['{"a":1}'])[0].right
    assert judge_of("text")([{"prompt": "?", "completion": 7}], ["7."])[0].right


@needs_sandbox
def test_what_has_a_check_is_run_beside_what_has_none():
    check = {"name": "f", "params": [["x", "int"]], "returns": "int", "records": [], "tests": [[[2], 4]]}
    gold, other = "def f(x):\n    return 2 * x", "def f(x):\n    return x + x"
    rows = [{"completion": gold}, {"completion": gold, "check": check}, {"completion": gold}]
    found = judge_of("python")(rows, [other, other, gold])
    assert [each.right for each in found] == [False, True, True]


@pytest.mark.parametrize(
    ("language", "rows", "execution", "measure"),
    [
        ("sql", [{"check": {}}], True, "execution accuracy"),
        ("sql", [{"check": {}}, {}], True, "execution accuracy (answers without a check compared as text)"),
        ("sql", [{}, {"check": None}], True, "equal text (no checks to run)"),
        ("sql", [{"check": {}}], False, "equal text (nothing was run)"),
        ("json", [{}], False, "equal values"),
        ("text", [{}], False, "equal words"),
    ],
)
def test_the_measure_says_what_was_done(language, rows, execution, measure):
    assert measure_of(language, rows, execution=execution) == measure


@pytest.mark.parametrize("answer", ["9" * 5000, "[" * 100_000 + "]" * 100_000])
def test_json_that_python_does_not_read_costs_itself_alone(answer):
    found = judge_of("json")([{"completion": "1"}] * 2, [answer, "1"])
    assert [(each.right, each.parses) for each in found] == [(False, False), (True, True)]


@pytest.mark.parametrize("gold", ["{'a': 1}", "[" * 100_000 + "]" * 100_000])
def test_a_gold_answer_that_is_not_json_is_named(gold):
    with pytest.raises(EvaluationError, match="row 2"):
        judge_of("json")([{"completion": "1"}, {"completion": gold}], ["1", "1"])
