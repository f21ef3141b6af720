"""Ordinary conversation: many messages, short answers, sums that are right."""

import re
from itertools import islice

from xpm_build.domains import DOMAINS, draw_cases
from xpm_build.domains.everyday.talk import _FAMILIES, _MESSAGES, _TABLES, PHRASES, _documents, num_known
from xpm_build.domains.speech import frames_of
from xpm_build.judges import judge_of
from xpm_build.rows import problems_of


def cases(count, seed=1):
    return list(islice(draw_cases(DOMAINS["everyday-talk"], seed, num_schemas=400), count))


def test_there_are_hundreds_of_messages_with_short_answers():
    assert num_known() >= 480
    for key, message in _documents(_MESSAGES).items():
        assert message["q"], key
        for answer in message["a"]:
            assert answer[0].isupper() or answer[0] in '"0123456789', (key, answer)
            assert len(answer) < 200, (key, answer)


def test_rows_are_well_formed_and_judged_by_their_words():
    rows = [case.to_row() for case in cases(900)]
    assert all(not problems_of(row) for row in rows)
    assert {row["family"] for row in rows} == set(_FAMILIES)
    answers = [row["completion"] for row in rows]
    assert all(verdict.right for verdict in judge_of("text")(rows, answers))
    altered = [f"{answer} Or not at all." for answer in answers]
    assert not any(verdict.right for verdict in judge_of("text")(rows, altered))
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert cases(100, seed=8) == cases(100, seed=8)


def test_nothing_is_left_open():
    for case in cases(900, seed=2):
        assert not re.search(r"\{\w\}", case.prompt + case.completion), case


def test_sums_are_right():
    found = 0
    for case in cases(1500, seed=3):
        asked = re.search(r"(?:^|\s)(\d+) ([+x/-]) (\d+)$", case.prompt)
        if asked:
            x, y = int(asked[1]), int(asked[3])
            wanted = {"+": x + y, "-": x - y, "x": x * y, "/": x // y}[asked[2]]
            assert str(wanted) in re.findall(r"\d+", case.completion), case
            found += 1
    assert found >= 5


def test_every_table_has_a_question_and_an_answer():
    frames = frames_of(PHRASES)
    for name, table in _documents(_TABLES).items():
        kinds = table if name == "things" else [name]
        for kind in kinds:
            assert kind in frames, kind
            assert f"{kind}_answer" in frames or kind == "spell", kind
