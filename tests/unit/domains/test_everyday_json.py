"""Everyday requests for JSON: their answers are what the judge wants, and an answer with one value changed is not."""

import json
import random
import time
from itertools import islice
from pathlib import Path

import pytest

from examples.embedded.corpus import HELD_BACK
from tests.support.frames import assert_sound
from xpm_build.domains import DOMAINS, draw_cases
from xpm_build.domains.everyday.json_repair import _SLIPS
from xpm_build.domains.everyday.json_requests import _FAMILIES, PHRASES
from xpm_build.domains.everyday.records import TEXTS, _kinds, draw_kind, draw_record, kinds_in_groups, tell
from xpm_build.domains.everyday.values import draw_value, pool
from xpm_build.domains.speech import Speaker, frames_of
from xpm_build.domains.words import NUM_GROUPS, Vocabulary
from xpm_build.judges import judge_of
from xpm_build.rows import problems_of

_BY_HAND = Path(__file__).parents[2] / "everyday" / "json.jsonl"
_DOMAIN = DOMAINS["everyday-json"]


def cases(count, seed=1, num_schemas=400):
    return list(islice(draw_cases(_DOMAIN, seed, num_schemas=num_schemas), count))


def altered(value, rng):
    """The value with one part of it changed."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return {**value, key: altered(value[key], rng)}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        return [*value[:at], altered(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else str(value) + "x"


def test_gold_answers_are_right_and_altered_ones_are_not():
    rows = [case.to_row() for case in cases(1500)]
    answers = [row["completion"] for row in rows]
    assert all(verdict.right for verdict in judge_of("json")(rows, answers))
    rng = random.Random(2)
    wrong = [json.dumps(altered(json.loads(answer), rng)) for answer in answers]
    assert not any(verdict.right for verdict in judge_of("json")(rows, wrong))


def test_rows_are_well_formed_of_many_families_and_several_languages():
    drawn = cases(1500)
    assert all(not problems_of(case.to_row()) for case in drawn)
    assert {case.family for case in drawn} == {*_FAMILIES, "layout"}
    assert {case.language for case in drawn} == {"en", "de", "fr", "es", "it", "pt"}
    assert 0.04 < sum(case.language != "en" for case in drawn) / len(drawn) < 0.16
    assert len({case.prompt for case in drawn}) == len(drawn)
    plain = [case for case in drawn if case.family != "layout"]
    assert all(case.completion == json.dumps(json.loads(case.completion), ensure_ascii=False) for case in plain)


def test_no_placeholder_is_left_open():
    for case in cases(1500, seed=3):
        for name in ("text", "keys", "json", "form", "types", "open", "close", "other", "items", "facts", "thing"):
            assert f"{{{name}}}" not in case.prompt, case.prompt
        assert "?" not in case.prompt or "|no" not in case.prompt


def test_a_seed_decides():
    assert cases(200, seed=9) == cases(200, seed=9)


def test_hundreds_are_made_a_second():
    start = time.perf_counter()
    cases(400, seed=4)
    assert time.perf_counter() - start < 4  # a slow machine's measure; 200 a second are asked for, thousands are usual


def test_texts_say_all_fields_of_their_records():
    for name, languages in _kinds().items():
        for language, fields in languages.items():
            keys = {field.split(":")[0].split("/")[0].strip() for field in fields.split(";")}
            for text in frames_of(TEXTS)[name][language]:
                assert keys == {part.split("}")[0].split("?")[0] for part in text.split("{")[1:]}, text


def test_every_type_of_a_field_can_be_drawn():
    rng = random.Random(1)
    types = {
        field.split(":", 1)[1].strip()
        for kind in _kinds().values()
        for text in kind.values()
        for field in text.split(";")
    }
    for type_ in types:
        for language in ("en", "de", "pt"):
            value = draw_value(type_, rng, language)
            assert value.said
            assert (value.formed is not None) == bool(value.hint)


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "it", "pt"])
def test_records_are_told_word_for_word(language):
    rng = random.Random(5)
    for number in range(300):
        kind = draw_kind(Vocabulary(number % NUM_GROUPS, rng, schema=random.Random(number)), language)
        record = draw_record(kind, rng)
        speaker = Speaker(PHRASES, rng, language=language)
        text = tell(record, speaker)
        for value in record.values:
            assert value.kind == "boolean" or value.said in text, (text, value)


def test_each_group_has_kinds_of_its_own():
    assert len(kinds_in_groups()) == NUM_GROUPS
    assert min(kinds_in_groups()) >= 3


@pytest.mark.parametrize("path", [PHRASES, TEXTS])
def test_every_frame_is_sound_and_enough_is_left_to_train_on(path):
    assert_sound(path, HELD_BACK)


def test_slips_leave_json_that_nothing_reads():
    text = json.dumps({"a": "one, two", "b": 0.5, "c": None, "d": True, "e": [1, 2], "f": {"g": "x"}})
    rng = random.Random(1)
    for slip in set(_SLIPS):
        broken = slip(text, rng)
        if broken != text:
            with pytest.raises(json.JSONDecodeError):
                json.loads(broken)


def test_lists_of_values_have_no_value_twice():
    for name in ("first_name", "city", "product", "grocery", "ingredient", "tag"):
        assert len(set(pool(name))) == len(pool(name)), name


def test_none_of_the_requests_by_hand_is_made():
    by_hand = [json.loads(line) for line in _BY_HAND.read_text(encoding="utf-8").splitlines()]
    prompts = {" ".join(row["prompt"].lower().split()) for row in by_hand}
    made = {" ".join(case.prompt.lower().split()) for case in cases(3000, seed=6)}
    assert not prompts & made
