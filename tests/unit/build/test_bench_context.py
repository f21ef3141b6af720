"""``xpm bench context``: prompts are as long as they say and hold their answers, and tables say what was measured."""

import math
from dataclasses import replace

import pytest

from xpm_build.bench.context.loss import PROBED, borders, reach, sample_text, windows
from xpm_build.bench.context.report import document, markdown
from xpm_build.bench.context.run import Answered, ContextOptions, Foretold, Results, losses, run_context, tokens_per_s
from xpm_build.bench.context.tasks import TASKS, make_case
from xpm_build.errors import UsageError
from xpm_runtime import RequestError
from xpm_runtime.text import TextCodec

LENGTH = 3000  # the tiny tokenizer has a token for almost each character


@pytest.fixture(scope="module")
def codec(tiny_base):
    return TextCodec(tiny_base.graph)


@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("task", TASKS)
def test_a_prompt_is_as_long_as_it_says_and_holds_its_answer(codec, task, depth):
    case = make_case(codec, task, length=LENGTH, depth=depth, seed="7")
    assert LENGTH - 150 < len(case.ids) + case.answer_tokens <= LENGTH
    text = codec.decode(case.ids)
    if task == "counting":
        assert text.count("the bell rang.") == int(case.wanted[0])
    else:
        assert all(each in text for each in case.wanted)
    if case.depth is not None:
        place = text.index(case.wanted[0]) / len(text)
        assert place == pytest.approx(0.02 + 0.92 * depth, abs=0.08)
    right = ", ".join(reversed(case.wanted))
    assert case.share(f" {right}. And 99 ABC") == 1
    assert case.share("nothing") == 0


def test_only_the_beginning_of_an_answer_counts(codec):
    case = make_case(codec, "needles", length=LENGTH, depth=0.5, seed="7")
    assert case.share(f"1, 2, {case.wanted[0]}, 3, {case.wanted[1]}") == 0.25
    assert case.share(" ".join([case.wanted[0]] * 4)) == 0.25


def test_a_seed_makes_the_same_prompts_again(codec):
    first, again, other = (make_case(codec, "pairs", length=LENGTH, depth=0.5, seed=each) for each in "778")
    assert first == again
    assert first.wanted != other.wanted


def test_a_length_that_holds_no_text(codec):
    with pytest.raises(UsageError, match="too few for the task needle"):
        make_case(codec, "needle", length=300, depth=0.5, seed="7")


def test_windows_end_alike(codec):
    text = "".join(f"word {number} " for number in range(400))
    found = windows(codec, text, lengths=[300, 900], count=3)
    assert all(len(each.ids) == length for length, some in found.items() for each in some)
    for short, long in zip(found[300], found[900], strict=True):
        assert short.number == long.number
        assert long.ids[-300:] == short.ids
    assert found[900][0].ids != found[900][2].ids


@pytest.mark.parametrize(("lengths", "message"), [([PROBED], "256 tokens behind"), ([300, 99_999], "the text has")])
def test_windows_that_can_not_be(codec, lengths, message):
    with pytest.raises(UsageError, match=message):
        windows(codec, "some text " * 100, lengths=lengths, count=1)


def test_a_text_that_is_none(tmp_path):
    (tmp_path / "x").write_bytes(b"caf\xe9")
    for name in ("x", "absent"):
        with pytest.raises(UsageError, match="can't be read"):
            sample_text(tmp_path / name)


def test_the_text_that_is_at_hand_does_not_repeat_itself():
    text = sample_text(None)
    assert len(text) > 200_000
    paragraphs = [each.strip() for each in text.split("\n\n") if len(each) > 100]
    assert len(set(paragraphs)) > 0.99 * len(paragraphs)


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({512: 3.0, 1024: 2.8, 2048: 3.1, 4096: 9.0}, 2048),
        ({512: 3.0, 1024: 3.2, 2048: 2.0}, 512),
        ({512: 3.0, 1024: 3.16}, 512),
        ({512: 3.0, 1024: 3.14}, 1024),
        ({}, 0),
    ],
)
def test_the_reach(losses, wanted):
    assert reach(losses) == wanted


def test_buckets_of_positions():
    assert borders(300) == [0, 256, 300]
    assert borders(2048) == [0, 256, 512, 1024, 2048]
    assert borders(3000) == [0, 256, 512, 1024, 2048, 3000]


def _results(**changes):
    options = ContextOptions(lengths=(512, 1024), tasks=("needle", "needles"), cases=2, windows=1)
    return Results(base="b", kernels="native", max_positions=2048, options=options, **changes)


def _answered(task, length, share, depth=0.5):
    wanted = ("1",) if task == "needle" else ("1", "2", "3", "4")
    facts = {"answer": "x", "num_prefilled": length, "prefill_ms": float(length)}
    return Answered(task=task, length=length, depth=depth, wanted=wanted, share=share, **facts)


def test_tables_say_what_was_measured():
    answered = [
        *(_answered("needle", length, share, depth) for length in (512, 1024) for share, depth in ((1, 0.0), (0, 1.0))),
        *(_answered("needles", length, share, None) for length in (512, 1024) for share in (1, 0.5)),
    ]
    foretold = [
        Foretold(length=512, number=0, loss=3.0, by_position=(4.0, 3.0)),
        Foretold(length=1024, number=0, loss=3.3, by_position=(4.0, 3.0, 3.2)),
    ]
    found = _results(answered=answered, foretold=foretold, memory={512: {"formula": 10**6, "resident": 2 * 10**6}})
    assert losses(found) == {512: 3.0, 1024: 3.3}
    assert tokens_per_s(found, 512) == 1000
    text = markdown(found)
    assert "| 512 | 1/2 | 1/2 (75% found) | 3.000 | +0.0% | 1,000 | 100% | 1 | 2 |" in text
    assert "| 1,024 | 1/2 | 1/2 (75% found) | 3.300 | +10.0% | 1,000 | 100% | | |" in text
    assert "| needle | 512 | 1/1 | 0/1 |" in text
    assert "| | 4.000 | 3.000 | 3.200 |" in text
    assert "Reach: 512 tokens; up to there the loss is less than 5% above" in text
    assert document(found)["reach"] == 512


def test_what_was_stopped_says_so_and_no_more():
    foretold = [Foretold(length=512, number=0, loss=3.0, by_position=(4.0, 3.0))]
    found = _results(answered=[_answered("needle", 512, 1)], foretold=foretold, is_stopped=True)
    assert math.isnan(tokens_per_s(found, 1024))
    text = markdown(found)
    assert "stopped before the end" in text
    assert "nothing is said of the reach" in text
    assert document(found)["prefill_tok_s"] == {"512": 1000.0}


def test_an_engine_is_asked_by_length_and_stopped_by_step(tiny_base):
    """The tiny base holds 256 positions, which is too few for the loss; what is refused is
    refused before it is loaded."""
    options = ContextOptions(lengths=(300,), windows=0, cases=1, tasks=("needle",), threads=1)
    quiet = {"report": lambda text: None, "stopped": lambda: False}
    with pytest.raises(UsageError, match="too few for the task"):
        run_context(tiny_base.graph, "tiny", options, **quiet)
    long = ContextOptions(lengths=(LENGTH,), windows=0, cases=1, tasks=("needle",), threads=1)
    with pytest.raises(UsageError, match=r"made for 256 positions, 3,000 were asked"):
        run_context(tiny_base.graph, "tiny", long, **quiet)
    with pytest.raises(UsageError, match="no task"):
        run_context(tiny_base.graph, "tiny", ContextOptions(tasks=("dance",)), **quiet)


def test_lengths_beyond_the_base_are_measured_with_scaled_positions(tiny_base):
    quiet = {"report": lambda text: None, "stopped": lambda: False}
    options = ContextOptions(
        lengths=(LENGTH,), windows=0, cases=1, tasks=("needle",), threads=1, rope="yarn", kernels="portable"
    )
    results = run_context(tiny_base.graph, "tiny", options, **quiet)
    assert [each.length for each in results.answered] == [LENGTH]
    assert "RoPE yarn" in markdown(results)
    with pytest.raises(RequestError, match="no way to scale"):
        run_context(tiny_base.graph, "tiny", replace(options, rope="spiral"), **quiet)
