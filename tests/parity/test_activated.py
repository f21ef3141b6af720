"""Activated LoRA: what PEFT computes from the invocation on, the base's own keys and values before
it, shared by all experts."""

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from tests.support import models
from xpm_build.adapter.compile import compile_adapter, compile_adapters, save_slots
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_runtime import AdapterMismatchError, AdapterSpec, Engine, Grammar, Request, RopeScaling, SamplingParams
from xpm_runtime.activation import Stage, parts_of, stages_of
from xpm_runtime.adapter import SLOTS

FIRST, SECOND = (7, 8, 9), (20, 21)
BEFORE, AFTER = probe_tokens(models.VOCAB_SIZE, seed=2, count=75), probe_tokens(models.VOCAB_SIZE, seed=3, count=9)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def activated(tiny_base, tmp_path_factory):
    """(PEFT's folder, compiled) of an adapter that is invoked by ``FIRST``, and of one by ``SECOND``."""
    made, model = [], models.load(tiny_base.source)
    for seed, invocation in enumerate((FIRST, SECOND), start=1):
        folder = tmp_path_factory.mktemp("activated")
        peft = models.save_adapter(
            tiny_base.source, folder / "peft", models.lora(alora_invocation_tokens=list(invocation)), seed=seed
        )
        compiled = compile_adapter(peft, adaptable(model))
        assert (compiled.kind, compiled.invocation) == ("alora", invocation)
        save_slots(compiled, folder / SLOTS, base_digest=base_digest(model))
        with safe_open(folder / SLOTS, "numpy") as file:  # what reads the older format alone must refuse it
            assert file.metadata()["format"] == "xpm-slots-2"
        made.append((peft, folder / SLOTS))
    return made


@pytest.fixture
def engine(tiny_base, tiny_adapter, activated):
    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=4, context=256) as opened:
        for name, (_, slots) in zip(("first", "second"), activated, strict=True):
            opened.attach(AdapterSpec.read(name, slots))
        opened.attach(AdapterSpec.read("lora", tiny_adapter("lora").slots))
        opened.attach(AdapterSpec.read("prompt", tiny_adapter("prompt").slots))
        yield opened


def _reference(tiny_base, folder, tokens):
    from peft import PeftModel

    return reference_logits(PeftModel.from_pretrained(models.load(tiny_base.source), str(folder)).eval(), tokens)


@pytest.mark.parametrize(
    "tokens",
    [
        [*BEFORE, *FIRST, *AFTER],
        [*FIRST, *AFTER],
        [*BEFORE, *FIRST],
        [*FIRST, *BEFORE, *FIRST, *AFTER],
        [*BEFORE, *AFTER],
        [*BEFORE, *FIRST[:2]],
    ],
    ids=["in the middle", "at the start", "at the end", "twice", "nowhere", "in part"],
)
def test_it_acts_from_its_last_invocation_on_as_in_peft(tokens, tiny_base, activated, engine):
    got = engine.logits(tokens, experts=["first"])
    assert np.abs(got - _reference(tiny_base, activated[0][0], tokens)).max() < TOLERANCE
    is_invoked = any(tuple(tokens[place : place + 3]) == FIRST for place in range(len(tokens)))
    changed = np.abs(got - engine.logits(tokens)).max(axis=1) > 0.01
    assert changed.any() == is_invoked
    if is_invoked:
        last = max(place for place in range(len(tokens)) if tuple(tokens[place : place + 3]) == FIRST)
        assert changed[last]
        assert not changed[:last].any()


def _answer(engine, tokens, experts):
    sampling = SamplingParams(max_tokens=8, temperature=1.0, seed=3)
    sequence = engine.submit(Request(prompt=tokens, experts=experts, sampling=sampling))
    while not sequence.is_finished:
        engine.step()
        assert engine.violations() == []
    return sequence.result()


def test_a_conversation_that_is_handed_over_computes_nothing_of_what_was_before_anew(engine):
    """The base reads it, then one expert answers, then another: each prefills its
    invocation, and what fills no block."""
    shared = BEFORE[:64]
    assert _answer(engine, shared, ()).num_reused_tokens == 0
    for experts, invocation in ((("first",), FIRST), (("second",), SECOND), (("first",), FIRST)):
        assert _answer(engine, [*shared, *invocation], experts).num_reused_tokens == len(shared)
    assert _answer(engine, [*shared, *AFTER], ("lora",)).num_reused_tokens == 0, (
        "one that acts everywhere shares nothing"
    )


def test_what_is_reused_changes_no_answer(tiny_base, activated, engine):
    prompt = [*BEFORE, *FIRST, *AFTER, *BEFORE]
    alone = _answer(engine, prompt, ("first",))
    engine._prefixes.clear()
    for other in ((), ("second",), ("lora",)):
        _answer(engine, prompt, other)
    again = _answer(engine, prompt, ("first",))
    assert again.num_reused_tokens == 64  # up to the block that the invocation stands in
    assert again.token_ids == alone.token_ids
    whole = _answer(engine, prompt, ("first",))
    assert (whole.num_reused_tokens, whole.token_ids) == (len(prompt) - len(prompt) % 16, alone.token_ids)


def test_several_act_each_from_its_own_place(engine):
    """Beside one that acts everywhere, and virtual tokens in front; a sequence that was preempted goes on as it was."""
    prompt = [*BEFORE, *SECOND, *AFTER, *FIRST, *AFTER]
    names = ("first", "lora", "prompt", "second")
    sampling = SamplingParams(max_tokens=12, temperature=1.0, seed=1)
    whole = engine.generate(prompt, experts=names, sampling=sampling)
    assert whole.experts == names
    sequence = engine.submit(Request(prompt=prompt, experts=names, sampling=sampling))
    for _ in range(4):
        engine.step()
    engine.preempt(sequence)
    engine.enqueue(sequence)
    while not sequence.is_finished:
        engine.step()
    assert sequence.result().token_ids == whole.token_ids
    logits = engine.logits(prompt, experts=names)
    without = engine.logits(prompt, experts=("lora", "prompt"))
    changed = np.abs(logits - without).max(axis=1) > 0.01
    assert not changed[: len(BEFORE)].any()
    assert changed[len(BEFORE)]


def test_who_is_not_invoked_does_not_act(engine):
    result = _answer(engine, BEFORE, ("first", "lora"))
    assert result.experts == ("lora",)
    assert result.token_ids == _answer(engine, BEFORE, ("lora",)).token_ids


def test_it_acts_from_there_in_prompts_of_many_chunks_too(tiny_base, activated, engine):
    long = probe_tokens(models.VOCAB_SIZE, seed=5, count=600)
    prompt = [*long, *FIRST, *AFTER]
    with Engine.load(
        tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=1024, rope=RopeScaling.parse("yarn:4")
    ) as opened:
        opened.attach(AdapterSpec.read("first", activated[0][1]))
        sampling = SamplingParams(max_tokens=1, prompt_logprobs=True, logprobs=0)
        result = opened.generate(prompt, experts=("first",), sampling=sampling)
        logits = opened.logits(prompt, experts=("first",))
        assert str(result.rope) == "yarn:4"
    rows = logits - np.logaddexp.reduce(logits.astype(np.float64), axis=1, keepdims=True)
    wanted = [rows[place, token] for place, token in enumerate(prompt[1:])]
    assert [each.logprob for each in result.prompt_logprobs[1:]] == pytest.approx(wanted, abs=1e-3)


def test_stages_and_parts():
    acting = (("a", 1.0), ("b", 0.5), ("c", 1.0))
    stages = stages_of(acting, {"a": (), "b": (5,), "c": (6, 7)}, [1, 5, 6, 7, 5, 2], num_soft=2)
    assert stages == (Stage(0, acting[:1]), Stage(4, (acting[0], acting[2])), Stage(6, acting))
    assert list(parts_of(stages, 0, 8)) == [(0, 4, stages[0].acting), (4, 6, stages[1].acting), (6, 8, acting)]
    assert list(parts_of(stages, 4, 5)) == [(4, 5, stages[1].acting)]
    assert list(parts_of(stages, 7, 90)) == [(7, 90, acting)]
    assert stages_of((), {}, [1]) == (Stage(0, ()),)


@pytest.mark.parametrize(
    "stored", ["{}", "[", "[1.5]", "[true]", "[-1]", "[100000000]", str([1] * 65), '["a"]', "[1, " * 5000]
)
def test_invocations_that_are_no_tokens_are_refused(stored, tiny_base, activated, tmp_path):
    with safe_open(activated[0][1], "numpy") as file:
        metadata = {**file.metadata(), "invocation_tokens": stored}
    safetensors.numpy.save_file(safetensors.numpy.load_file(activated[0][1]), tmp_path / SLOTS, metadata=metadata)
    with Engine.load(tiny_base.graph, device="cpu", threads=1) as opened, pytest.raises(AdapterMismatchError):
        opened.attach(AdapterSpec.read("bad", tmp_path / SLOTS))


def test_virtual_tokens_can_t_be_invoked(tiny_base, tiny_adapter, tmp_path):
    slots = tiny_adapter("prompt").slots
    with safe_open(slots, "numpy") as file:
        metadata = {**file.metadata(), "invocation_tokens": "[7]"}
    safetensors.numpy.save_file(safetensors.numpy.load_file(slots), tmp_path / SLOTS, metadata=metadata)
    with (
        Engine.load(tiny_base.graph, device="cpu", threads=1) as opened,
        pytest.raises(AdapterMismatchError, match="virtual tokens"),
    ):
        opened.attach(AdapterSpec.read("bad", tmp_path / SLOTS))


def test_who_is_not_invoked_states_no_grammar(tiny_base, activated):
    digits = Grammar(kind="regex", text="[0-9]+")
    with Engine.load(tiny_base.graph, device="cpu", threads=1) as opened:
        opened.attach(AdapterSpec.read("first", activated[0][1], grammar=lambda prompt: digits))
        sampling = SamplingParams(max_tokens=8, temperature=1.0, seed=1)
        answers = [
            opened.generate(prompt, experts=["first"], sampling=sampling).text for prompt in (BEFORE, [*BEFORE, *FIRST])
        ]
    assert [each.isdigit() for each in answers] == [False, True]


def test_adapters_of_different_invocations_are_no_one_expert(tiny_base, activated):
    with pytest.raises(BuildError, match="invoked by different tokens"):
        compile_adapters([folder for folder, _ in activated], adaptable(models.load(tiny_base.source)))
