"""Speculative decoding: what is written stays what it would be without it, whatever was guessed."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support import models
from xpm_build.base.export import export_base
from xpm_runtime import AdapterSpec, Engine, Grammar, Request, RequestError, SamplingParams
from xpm_runtime.native import library
from xpm_runtime.sampler import survivors
from xpm_runtime.speculation import RunCosts, Speculation
from xpm_runtime.speculation.ngram import NgramDrafter

REPEATING = [40, 41, 42, 43, 44, 45, 46, 47] * 5
_LORAS = [("lora", seed) for seed in range(10)]


_TRUTH: list[int] = []  # prompt and answer, as they are without guesses


@pytest.fixture
def eager(monkeypatch):
    """Guess seven tokens at every step, of which every sixth place is wrong: what pays is not the question."""
    look_up = NgramDrafter.draft

    def draft(self, count):
        first = self.num_tokens
        guessed = [
            (token + (first + place) % 6 // 5) % 200 for place, token in enumerate(_TRUTH[first : first + count])
        ]
        return (guessed, 4) if guessed else look_up(self, count)

    monkeypatch.setattr(NgramDrafter, "draft", draft)
    monkeypatch.setattr(Speculation, "_best", lambda self, num_pending, most, costs: min(most, 7))
    yield
    _TRUTH.clear()


@pytest.fixture(scope="module")
def int4(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int4")
    export_base(models.save_tiny_model(folder / "source"), folder / "graph", variant="int4", block=32)
    return folder / "graph"


@pytest.fixture(params=["native", "portable"])
def engine(request, int4, tiny_base):
    """Our own kernels on 4 bits, where a token comes to the same bits whatever runs beside it;
    ONNX Runtime's in float32."""
    if request.param == "native" and library() is None:
        pytest.skip("this machine can't run the native kernels")
    folder = int4 if request.param == "native" else tiny_base.graph
    with Engine.load(folder, device="cpu", threads=1, max_lanes=3, context=128, kernels=request.param) as engine:
        engine.generate([1, 2], sampling=SamplingParams(max_tokens=3, speculative="ngram"))  # what a run of one costs
        yield engine


def both(engine, prompt, *, experts=(), **settings):
    """(plainly, with guesses)."""
    sampling = SamplingParams(**{"max_tokens": 40} | settings)
    plain = engine.generate(prompt, experts=experts, sampling=sampling)
    _TRUTH[:] = [*prompt, *plain.token_ids]
    guessed = engine.generate(prompt, experts=experts, sampling=replace(sampling, speculative="ngram"))
    assert engine.violations() == []
    return plain, guessed


def same(plain, guessed):
    assert guessed.num_drafted > 0
    assert (guessed.token_ids, guessed.text, guessed.finish_reason) == (
        plain.token_ids,
        plain.text,
        plain.finish_reason,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.9, "seed": 5},
        {"temperature": 0.7, "seed": 6, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
        {"repetition_penalty": 1.3},
        {"presence_penalty": 0.5, "frequency_penalty": 0.4, "temperature": 0.5, "seed": 1},
        {"logit_bias": {50: 4.0}},
        {"max_tokens": 3},
        {"max_tokens": 120},  # more than the lane holds
    ],
)
def test_the_tokens_are_the_same(engine, eager, settings):
    plain, guessed = both(engine, REPEATING, **settings)
    same(plain, guessed)
    assert 0 < guessed.num_accepted < guessed.num_drafted or guessed.num_drafted < 7


def test_a_stop_string_ends_a_text_within_an_accepted_run(engine, eager):
    text = engine.generate(REPEATING, sampling=SamplingParams(max_tokens=40)).text
    for stop in {text[place : place + 2] for place in range(4, len(text) - 2, 5)} - {""}:
        same(*both(engine, REPEATING, stop=(stop,)))


def test_log_probabilities_are_reported_for_each_token(engine, eager):
    plain, guessed = both(engine, REPEATING, logprobs=2, temperature=0.5, seed=3)
    same(plain, guessed)
    assert [each.id for each in guessed.logprobs] == list(guessed.token_ids)
    for one, other in zip(plain.logprobs, guessed.logprobs, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_grammar_is_kept_to_the_letter(engine, eager):
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "name2": {"type": "string"}}}
    grammar = Grammar.of_schema({**schema, "required": ["name", "name2"], "additionalProperties": False})
    prompt = engine.encode('{"name": "abcabcabc", "name2": "abcabcabc"} {"name": "')
    for settings in ({}, {"temperature": 1.2, "seed": 4}, {"max_tokens": 24}):
        plain, guessed = both(engine, prompt, grammar=grammar, **({"max_tokens": 70} | settings))
        assert (guessed.token_ids, guessed.missing) == (plain.token_ids, plain.missing)
        assert guessed.missing is None
        json.loads(guessed.text)


def test_ten_experts_a_soft_prompt_and_what_was_known_already(engine, eager, tiny_adapter):
    adapters = [*(tiny_adapter(kind, seed) for kind, seed in _LORAS[:8]), tiny_adapter("dora"), tiny_adapter("prompt")]
    for each in adapters:
        engine.attach(AdapterSpec.read(each.name, each.slots))
    for _ in range(2):  # the second time the prefix cache holds the prompt
        same(*both(engine, REPEATING, experts=[each.name for each in adapters]))


def test_a_preempted_sequence_goes_on(engine, eager):
    plain = engine.generate(REPEATING, sampling=SamplingParams(max_tokens=40))
    _TRUTH[:] = [*REPEATING, *plain.token_ids]
    sequence = engine.submit(Request(prompt=REPEATING, sampling=SamplingParams(max_tokens=40, speculative="ngram")))
    for number in itertools.count():
        if sequence.is_finished:
            break
        engine.step()
        assert engine.violations() == []
        if number % 3 == 2 and not sequence.is_finished:
            engine.preempt(sequence)
            engine.enqueue(sequence)
    same(plain, sequence.result())


def test_beside_others_nothing_is_guessed(engine, eager):
    sampling = SamplingParams(max_tokens=20, speculative="ngram")
    results = engine.generate_batch([Request(prompt=REPEATING, sampling=sampling)] * 2)
    assert [each.num_drafted for each in results] == [0, 0]


def test_a_failing_run_ends_its_sequence_alone(engine, eager, monkeypatch):
    same(*both(engine, REPEATING))
    sequence = engine.submit(Request(prompt=REPEATING, sampling=SamplingParams(max_tokens=40, speculative="ngram")))
    engine.step()
    with monkeypatch.context() as patched:
        patched.setattr(engine._runner, "prefill", lambda *args, **options: 1 / 0)
        engine.step()
    assert (sequence.finish_reason, len(sequence.token_ids)) == ("error", 1)
    assert engine.violations() == []
    same(*both(engine, REPEATING))


def test_what_is_drawn_is_distributed_as_without_guesses(tiny_engine, eager):
    """Three tokens behind a repetition, of three that may come at each place, beside their exact probabilities."""
    settings = {"temperature": 1.5, "top_k": 3, "max_tokens": 4, "speculative": "ngram"}
    _TRUTH[:] = [*REPEATING, *tiny_engine.generate(REPEATING, sampling=SamplingParams(max_tokens=4)).token_ids]
    counts, num_accepted, num_runs = dict[tuple[int, ...], int](), 0, 500
    for seed in range(num_runs):
        result = tiny_engine.generate(REPEATING, sampling=SamplingParams(seed=seed, **settings))
        counts[result.token_ids] = counts.get(result.token_ids, 0) + 1
        num_accepted += result.num_accepted
    expected = exact(tiny_engine, REPEATING, SamplingParams(**settings))
    assert counts.keys() <= expected.keys()
    large = {ids for ids, chance in expected.items() if num_runs * chance >= 5}
    parts = [(counts.get(ids, 0), num_runs * expected[ids]) for ids in large]
    parts.append((num_runs - sum(seen for seen, _ in parts), num_runs - sum(wanted for _, wanted in parts)))
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in parts if wanted > 0)
    freedom = len(parts) - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)  # seeded: what holds once holds always
    assert num_accepted > 0


def exact(engine, prompt, params):
    """Each text that may be drawn, with its probability."""
    texts = {(): 1.0}
    for _ in range(params.max_tokens):
        longer = {}
        for ids, chance in texts.items():
            if ids and ids[-1] in engine.graph.eos_token_ids:
                longer[ids] = chance
                continue
            tokens, weights = survivors(engine.logits([*prompt, *ids])[-1], params)
            for token, weight in zip(tokens.tolist(), (weights / weights.sum()).tolist(), strict=True):
                longer[(*ids, token)] = chance * weight
        texts = longer
    return texts


@pytest.mark.skipif(library() is None, reason="this machine can't run the native kernels")
def test_a_token_comes_to_the_same_bits_whatever_runs_beside_it(int4):
    """Of our own kernels: rows of one run, a run of each, and a batch."""
    with Engine.load(int4, device="cpu", threads=2, max_lanes=5, context=64, kernels="native") as engine:
        runner, pack = engine._runner, engine._packs.current
        ids = [3 + 7 * place % 200 for place in range(40)]
        single = []
        for place, token in enumerate(ids):
            single.append(runner.decode([token], [place], ((),), pack)[0].copy())
        for start, count in itertools.product((0, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33)):
            runner.prefill(ids[:5], lane=1, start=0, pack=pack, acting=())
            rows = runner.prefill(ids[start : start + count], lane=1, start=start, pack=pack, acting=(), every=True)
            assert (rows == np.array(single[start : start + count])).all()
        for lanes in range(2, 6):
            for lane in range(lanes):
                runner.prefill(ids[:9], lane=lane, start=0, pack=pack, acting=())
            rows = runner.decode([ids[9]] * lanes, [9] * lanes, ((),) * lanes, pack)
            assert all((rows[lane] == single[9]).all() for lane in range(lanes))


def test_wrong_settings_are_refused():
    with pytest.raises(RequestError, match="speculative must be one of ngram, or None"):
        SamplingParams(speculative="magic")
    with pytest.raises(RequestError, match="speculative must be left out with num_beams"):
        SamplingParams(speculative="ngram", num_beams=2)


def test_a_drafter_finds_the_longest_and_latest_match():
    drafter = NgramDrafter()
    assert drafter.draft(3) == ([], 0)
    drafter.extend([1, 2, 3, 9, 8, 2, 3, 7, 6, 1, 2, 3])
    assert drafter.draft(2) == ([9, 8], 3)  # of three tokens, though two of them came later with another
    drafter.extend([5, 2, 3])
    assert drafter.draft(2) == ([5, 2], 2)
    drafter.extend([2, 3])
    assert drafter.draft(5) == ([2, 3, 2, 3, 2], 2)  # on and on


def test_costs_are_learned_and_one_delay_says_little():
    costs = RunCosts()
    assert (costs.is_known, costs.of(5)) == (False, 2.0)
    costs.saw(1, 10.0)
    for _ in range(20):
        costs.saw(4, 12.0)
    assert costs.of(4) == pytest.approx(1.2, abs=0.01)
    assert costs.of(8) == pytest.approx(1 + 7 * 0.2 / 3, abs=0.02)
    costs.saw(4, 1000.0)
    assert costs.of(4) < 1.3


def test_guessing_begins_where_it_pays_and_ends_where_it_does_not():
    costs = RunCosts()
    costs.saw(1, 10.0)
    for size in (2, 4, 8, 16):
        costs.saw(size, 10 + size)
    speculation, text = Speculation(), [1, 2, 3, 4, 5, 6, 7, 8, 9] * 3
    length = 0
    for token in text + text:
        draft = speculation.propose([token], num_pending=1, most=100, costs=costs)
        length = max(length, len(draft))
    assert length == 15
    rng = np.random.default_rng(0)
    for token in rng.integers(0, 3, 400):  # the same few tokens in any order
        draft = speculation.propose([int(token)], num_pending=1, most=100, costs=costs)
    dear = RunCosts()
    dear.saw(1, 10.0)
    for _ in range(50):
        for size in (2, 4, 8, 16):
            dear.saw(size, 20.0 * size)
    assert speculation.propose([1], num_pending=1, most=100, costs=dear) == []
    assert speculation.propose([1, 1], num_pending=1, most=0, costs=costs) == []
