"""The embedded experts' material: the two sides of the split never meet, and the judges can tell right from wrong."""

import random
import re

import pytest

from xpm_build.embedded.corpus import base_document
from xpm_build.embedded.evaluation import executes_alike, held_back_cases, judge, same_json
from xpm_build.embedded.examples import draw
from xpm_build.embedded.experts import RECIPES
from xpm_build.embedded.json_tasks import make_json
from xpm_build.embedded.sql_tasks import make_sql
from xpm_build.embedded.words import side_of

_WORD = re.compile(r"[A-Za-z]+")


@pytest.mark.parametrize("make", [make_sql, make_json])
def test_no_phrasing_stands_on_both_sides(make):
    rng = random.Random(3)
    train = {draw(make, "train", rng).phrasing for _ in range(3000)}
    held_back = {case.phrasing for case in held_back_cases(make)}
    assert len(held_back) > 300
    assert not train & held_back


def test_no_schema_or_identifier_stands_on_both_sides():
    rng = random.Random(4)
    train = [draw(make_sql, "train", rng) for _ in range(3000)]
    held_back = held_back_cases(make_sql)
    schemas = [{str(table) for case in cases for table in case.tables} for cases in (train, held_back)]
    assert not schemas[0] & schemas[1]
    names = [
        {name for case in cases for table in case.tables for name in (table.name, *(c.name for c in table.columns))}
        for cases in (train, held_back)
    ]
    assert names[0] & names[1] == {"id"}


def test_held_back_words_are_absent_from_the_base_corpus():
    rng = random.Random(5)
    documents = [base_document(rng) for _ in range(3000)]
    seen = {word.lower() for document in documents for word in _WORD.findall(document.given + document.written)}
    identifiers = {
        part
        for case in held_back_cases(make_sql)
        for table in case.tables
        for column in table.columns
        for part in column.name.split("_")
        if part != "id"
    }
    assert all(side_of(part) == "eval" for part in identifiers)
    # English words of the questions themselves ("age" in "over the age of") are the only ones that may be shared.
    assert not {part for part in identifiers if len(part) > 6} & seen


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_gold_answer_is_right_and_an_empty_one_is_wrong(name):
    recipe = RECIPES[name]
    cases = held_back_cases(recipe.make)
    assert len({case.prompt for case in cases}) == 500
    gold = judge(cases, [case.completion for case in cases], recipe.is_right)
    assert (gold.num_right, gold.failures) == (500, ())
    assert judge(cases, [""] * 500, recipe.is_right).num_right == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [(" > ", " >= "), (" DESC", ""), ("AVG(", "SUM("), (" AND ", " OR "), ("!=", "="), ("LIMIT", "LIMIT 1")],
)
def test_execution_tells_near_misses_apart(old, new):
    cases = [case for case in held_back_cases(make_sql) if old in case.completion]
    altered = [case.completion.replace(old, new, 1) for case in cases]
    assert cases
    assert sum(executes_alike(case, sql) for case, sql in zip(cases, altered, strict=True)) / len(cases) < 0.25


@pytest.mark.parametrize("statement", ["", "DROP TABLE x", "SELECT", "SELECT * FROM nothing", "not sql"])
def test_broken_sql_is_wrong_and_raises_nothing(statement):
    assert not executes_alike(held_back_cases(make_sql)[0], statement)


def test_json_equality_sees_types():
    case = next(case for case in held_back_cases(make_json) if case.family == "object")
    assert same_json(case, case.completion)
    number = next(case for case in held_back_cases(make_json) if re.search(r": \d+[,}]", case.completion))
    assert not same_json(number, re.sub(r": (\d+)([,}])", r': "\1"\2', number.completion))
    assert not same_json(case, case.completion[:-1])
