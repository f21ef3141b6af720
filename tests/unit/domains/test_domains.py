"""The template domains: their gold answers are right when they are run, their groups share no
word, their seeds decide."""

import random
import re

import pytest

from examples.embedded.corpus import HELD_BACK, base_document
from tests.support.frames import sentences
from tests.support.sandbox import needs_sandbox
from xpm_build.dataset.hold_out import HoldOut, values_of
from xpm_build.domains import DOMAINS, draw_case, draw_cases
from xpm_build.domains import words as vocabulary
from xpm_build.domains.functions.edits import _renamed
from xpm_build.domains.registry import OWN
from xpm_build.domains.speech import LEAST_FRAMES, NUM_PLAIN, Speaker, frames_of, strangers_of, words_of
from xpm_build.domains.words import GROUPS, NUM_GROUPS, Vocabulary, group_of
from xpm_build.judges import judge_of
from xpm_build.rows import problems_of

_COUNTS = {"json": 600, "sql": 300, "neo4j": 60, "python": 300, "typescript": 300, "rust": 300}
_LISTED = [
    word
    for name in (
        "TABLES",
        "NUMERIC_COLUMNS",
        "TEXT_COLUMNS",
        "DATE_COLUMNS",
        "GIVEN_NAMES",
        "PLACES",
        "PLAIN_VALUES",
        "RELATIONSHIPS",
        "VERBS",
    )
    for word in getattr(vocabulary, name)
]
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def rows(name, count, seed=1):
    rng = random.Random(seed)
    return [draw_case(DOMAINS[name], rng).to_row() for _ in range(count)]


@needs_sandbox
@pytest.mark.parametrize("name", OWN)
def test_gold_answers_are_right_and_those_of_others_are_not(name):
    cases = rows(name, _COUNTS[name])
    answers = [case["completion"] for case in cases]
    wrong = [
        (case["prompt"], answer, verdict.reason)
        for case, answer, verdict in zip(cases, answers, judge_of(name)(cases, answers), strict=True)
        if not verdict.right
    ]
    assert wrong == []
    shifted = judge_of(name)(cases, answers[1:] + answers[:1])
    assert sum(verdict.right for verdict in shifted) < 0.02 * len(cases)


@pytest.mark.parametrize("name", OWN)
def test_rows_are_well_formed_and_of_many_families(name):
    cases = rows(name, 400)
    assert all(not problems_of(case) for case in cases)
    assert len({case["family"] for case in cases}) >= 9
    assert 0.005 < sum(case["language"] != "en" for case in cases) / len(cases) < 0.25
    assert not [case["prompt"] for case in cases if _PLACEHOLDER.search(case["prompt"]) and name == "sql"]
    assert len({case["prompt"] for case in cases}) > 395


@pytest.mark.parametrize("name", ["sql", "json", "neo4j", "functions"])
def test_every_frame_is_sound(name):
    for kind, languages in frames_of(name).items():
        assert "en" in languages or "any" in languages, kind
        for language, frames in languages.items():
            assert frames, (kind, language)
            assert len(set(frames)) == len(frames) or kind in ("and", "or"), (kind, language)
            for frame in frames:
                assert frame.count("[") == frame.count("]"), frame
                assert frame.count("{") == frame.count("}"), frame


def test_groups_share_no_word():
    for group in range(NUM_GROUPS):
        words = Vocabulary(group, random.Random(group))
        drawn = [words.table(), words.numeric_column(), words.text_column(), words.invented(), words.value()]
        for word in drawn * 1 + [words.function_name() for _ in range(20)]:
            parts = [part for part in re.split(r"[_ ]", word) if part]
            assert {group_of(part) for part in parts} == {group}, (word, group)


@pytest.mark.parametrize("name", ["sql", "rust"])
def test_a_seed_decides_and_no_prompt_comes_twice(name):
    first, second = (draw_cases(DOMAINS[name], 5, num_schemas=50) for _ in range(2))
    cases = [next(first) for _ in range(200)]
    assert cases == [next(second) for _ in range(200)]
    assert len({case.prompt for case in cases}) == 200


def test_a_schema_is_asked_about_in_many_ways():
    rng = random.Random(1)
    cases = [draw_case(DOMAINS["sql"], rng, schema=41) for _ in range(30)]
    first_tables = {str(case.check["tables"]) for case in cases if len(case.check["tables"]) == 1}
    assert len(first_tables) == 1
    assert {case.group for case in cases} == {GROUPS[1]}
    assert len({case.prompt for case in cases}) == 30


def test_a_speaker_keeps_to_one_language():
    rng = random.Random(3)
    foreign = [case for case in (draw_case(DOMAINS["sql"], rng) for _ in range(400)) if case.language != "en"]
    assert foreign
    for case in foreign:
        assert {frame.split("/")[1] for frame in case.frames} <= {case.language, "any"}


def test_careless_speakers_never_touch_what_is_asked_about():
    speaker = Speaker("sql", random.Random(1), careless="typo")
    said = [
        Speaker("sql", random.Random(seed), careless="typo").say("select", cols="zqzqzq", table="wxwxwx", where="")
        for seed in range(200)
    ]
    assert all("zqzqzq" in text and "wxwxwx" in text for text in said)
    plain = {
        Speaker("sql", random.Random(seed)).say("select", cols="zqzqzq", table="wxwxwx", where="")
        for seed in range(200)
    }
    assert len(set(said) - plain) > 100
    assert speaker.frames == []


def test_strange_words_come_between_those_of_a_frame_or_in_place_of_small_ones():
    said = [
        Speaker("sql", random.Random(seed), strangers=("zqzq", "qzqz")).say(
            "select", cols="wxwxwx", table="xwxwxw", where=""
        )
        for seed in range(300)
    ]
    assert all("wxwxwx" in text and "xwxwxw" in text for text in said)
    strange = [text for text in said if re.search("zqzq|qzqz", text)]
    assert 20 < len(strange) < 100
    assert max(len(re.findall("zqzq|qzqz", text)) for text in strange) == 2


@pytest.mark.parametrize("name", ["sql", "json", "neo4j"])
def test_strangers_are_words_of_no_frame_and_never_an_identifier_or_a_value(name):
    strangers = set(strangers_of(name))
    assert len(strangers) > 500
    assert not strangers & words_of(name)
    listed = {part for word in _LISTED for part in re.split("[:_]", word.lower())}
    assert not strangers & listed


def test_what_is_held_back_leaves_every_kind_something():
    assert "words-0" not in [group for group in GROUPS if HELD_BACK.holds("group", group)]
    assert sum(HELD_BACK.holds("group", group) for group in GROUPS) == 2
    held = 0
    for name in ("sql", "json", "neo4j", "functions"):
        for kind, languages in frames_of(name).items():
            for language, frames in languages.items():
                if len(frames) >= LEAST_FRAMES:
                    count = sum(
                        HELD_BACK.holds("phrasing", f"{kind}/{language}/{n}") for n in range(NUM_PLAIN, len(frames))
                    )
                    assert count <= 0.5 * len(frames), kind
                    held += count
    assert held > 60


@pytest.mark.parametrize("name", ["sql", "json", "neo4j", "functions"])
def test_what_is_held_back_is_worded_like_nothing_else(name):
    for kind, languages in frames_of(name).items():
        for language, frames in languages.items():
            if len(frames) < LEAST_FRAMES:
                continue
            held = {n for n in range(NUM_PLAIN, len(frames)) if HELD_BACK.holds("phrasing", f"{kind}/{language}/{n}")}
            others = set().union(*(sentences(frame) for n, frame in enumerate(frames) if n not in held))
            for number in held:
                assert not sentences(frames[number]) & others, (kind, frames[number])


def test_the_experts_hold_back_what_the_base_never_read():
    from examples.embedded.rebuild import EXPERTS, PACKAGES
    from xpm_build.dataset.settings import dataset_settings
    from xpm_index.manifest import Manifest

    for name in EXPERTS:
        manifest = Manifest.parse((PACKAGES / name / "manifest.json").read_bytes())
        assert dataset_settings(manifest.raw).split.hold_out == HELD_BACK


def test_the_base_reads_nothing_that_is_held_back():
    from xpm_build.domains.words import Oddity

    rng = random.Random(6)
    text = "\n".join(
        doc.given + doc.written for doc in (base_document(rng, oddity=Oddity(share=0.0)) for _ in range(1500))
    )
    held = {number for number, group in enumerate(GROUPS) if HELD_BACK.holds("group", group)}
    from xpm_build.domains.words import NUMERIC_COLUMNS, RELATIONSHIPS, TABLES, TEXT_COLUMNS

    words = {word for word in NUMERIC_COLUMNS + TEXT_COLUMNS if group_of(word) in held and len(word) > 6}
    found = {word for word in words if re.search(rf"\b{word}(?![a-z])", text)}
    said = {
        word
        for kinds in map(frames_of, ("sql", "json", "neo4j", "functions"))
        for languages in kinds.values()
        for frames in languages.values()
        for frame in frames
        for word in re.findall(r"\w+", frame)
    }
    others = {word + "s" for word in TABLES} | {
        verb for entry in RELATIONSHIPS for verb in entry.split(":")[1].split("_")
    }
    assert found - said - others == set()


def test_hold_out_depends_on_the_value_alone():
    hold_out = HoldOut(seed=1, shares={"group": 0.5})
    assert hold_out.holds("group", "a") == HoldOut(seed=1, shares={"group": 0.5, "x": 0.1}).holds("group", "a")
    assert 400 < sum(hold_out.holds("group", str(n)) for n in range(1000)) < 600
    assert values_of({"a": ["x", "y"], "b": 3}, "a") == ["x", "y"]
    assert values_of({"b": 3}, "b") == ["3"]
    assert values_of({}, "b") == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("values.values()", "cats.values()"),
        ("for i in 0..values { values[i] }", "for i in 0..cats { cats[i] }"),
        ("invalid_values + f(values)", "invalid_values + f(cats)"),
    ],
)
def test_renaming_a_parameter_leaves_a_method_of_its_name(text, wanted):
    assert _renamed(text, "values", "cats") == wanted
