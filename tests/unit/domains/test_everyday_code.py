"""Everyday functions: every body is right in its language, what is to be mended is wrong, and constant answers are."""

import json
import random
import re
from itertools import islice
from pathlib import Path

import pytest

from examples.embedded.corpus import HELD_BACK
from tests.support.frames import assert_sound
from tests.support.sandbox import needs_sandbox
from xpm_build.domains import DOMAINS, draw_cases
from xpm_build.domains.everyday.code_edits import _SLIPS, _disagreement
from xpm_build.domains.everyday.code_requests import PHRASES
from xpm_build.domains.everyday.code_tasks import draw_function, purposes, purposes_of
from xpm_build.domains.everyday.code_wording import third_person
from xpm_build.domains.words import NUM_GROUPS
from xpm_build.judges import judge_of
from xpm_build.judges.python import Python
from xpm_build.judges.rust import Rust
from xpm_build.judges.typescript import TypeScript
from xpm_build.rows import problems_of

_LANGUAGES = {"python": Python, "typescript": TypeScript, "rust": Rust}
_BY_HAND = Path(__file__).parents[2] / "everyday"


def functions():
    """Each purpose with each alternative of its axes at least once."""
    for purpose in purposes():
        count = max([1, *(len(axis) for axis in purpose.axes)])
        seen = set()
        for seed in range(3 * count):
            function = draw_function(purpose, random.Random(f"{purpose.key}/{seed}"), Rust)
            if (key := tuple(function.variant.values())) not in seen:
                seen.add(key)
                yield function


def test_there_are_many_purposes_and_each_group_has_some():
    assert len(purposes()) >= 330
    assert len({purpose.key for purpose in purposes()}) == len(purposes())
    assert min(len(purposes_of(group)) for group in range(NUM_GROUPS)) >= 15


@needs_sandbox
@pytest.mark.parametrize("name", _LANGUAGES)
def test_all_bodies_are_right(name):
    rows = []
    for number, function in enumerate(functions()):
        tests = function.tests(random.Random(number))
        assert len(tests) >= 2, function.purpose.key
        rows.append({"prompt": "", "completion": function.written(_LANGUAGES[name]), "check": function.check(tests)})
    answers = [row["completion"] for row in rows]
    wrong = [
        (answer, verdict.reason)
        for answer, verdict in zip(answers, judge_of(name)(rows, answers), strict=True)
        if not verdict.right
    ]
    assert wrong == []


@needs_sandbox
@pytest.mark.parametrize("name", _LANGUAGES)
def test_rows_are_right_and_a_function_of_one_result_is_not(name):
    rows = [case.to_row() for case in islice(draw_cases(DOMAINS[f"everyday-{name}"], 3, num_schemas=300), 120)]
    answers = [row["completion"] for row in rows]
    assert [verdict.reason for verdict in judge_of(name)(rows, answers) if not verdict.right] == []
    language, judged, constant = _LANGUAGES[name], [], []
    for row in rows:
        check = row["check"]
        if check.get("define") or len({json.dumps(result) for _, result in check["tests"]}) < 2:
            continue
        header = language.header(check["name"], [tuple(each) for each in check["params"]], check["returns"])
        value = language.literal(check["tests"][0][1], check["returns"], {})
        body = value if language is Rust else f"return {value}" + (";" if language is TypeScript else "")
        judged.append(row)
        constant.append(language.function(header, body))
    assert len(judged) > 80
    assert not any(verdict.right for verdict in judge_of(name)(judged, constant))


@pytest.mark.parametrize("name", _LANGUAGES)
def test_rows_are_well_formed_and_of_every_family(name):
    drawn = list(islice(draw_cases(DOMAINS[f"everyday-{name}"], 5, num_schemas=300), 900))
    assert all(not problems_of(case.to_row()) for case in drawn)
    families = {case.family for case in drawn}
    assert families >= {"write", "fix", "change", "rename", "translate", "document", "define"}
    assert ("types" in families) == (name != "rust")
    assert len({case.prompt for case in drawn}) == len(drawn)
    for case in drawn:
        assert "⟦" not in case.prompt, case.prompt
        assert not re.search(r"\$[a-z_]", case.completion), case.completion
    assert drawn == list(islice(draw_cases(DOMAINS[f"everyday-{name}"], 5, num_schemas=300), 900))


def test_slips_make_a_function_wrong():
    rng = random.Random(7)
    found = 0
    for function in islice(functions(), 120):
        tests, body = function.tests(rng), function.body(Python)
        assert _disagreement(function, tests, body) is None
        for right, wrong in _SLIPS:
            if right[0] in body and "while" not in body:
                found += _disagreement(function, tests, body.replace(right[0], wrong[0], 1)) is not None
    assert found > 40


def test_wordings_name_no_more_than_the_function_has():
    for function in functions():
        for frame in (*function.purpose.do, *function.purpose.ask):
            said = function.said(frame)
            assert "{" not in said.replace("{key}", ""), said
            assert not re.search(r"<[a-z_]+>", re.sub("<(b|key)>", "", said)), said


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("count the words", "counts the words"),
        ("classify an age", "classifies an age"),
        ("undo run lengths", "undoes run lengths"),
        ("say how long it is", "says how long it is"),
        ("sort numbers and return them", "sorts numbers and returns them"),
    ],
)
def test_the_third_person(command, told):
    assert third_person(command) == told


def test_every_frame_is_sound_and_enough_is_left_to_train_on():
    assert_sound(PHRASES, HELD_BACK)


@pytest.mark.parametrize("name", _LANGUAGES)
def test_no_function_is_called_like_one_of_the_requests_by_hand(name):
    by_hand = [json.loads(line) for line in (_BY_HAND / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {row["check"]["name"] for row in by_hand if "name" in row.get("check", {})}
    ours = {each for purpose in purposes() for each in purpose.names}
    ours |= {
        each
        for purpose in purposes()
        for axis in purpose.axes
        for alternative in axis
        for each in alternative.get("n", "").split()
    }
    assert not names & ours
