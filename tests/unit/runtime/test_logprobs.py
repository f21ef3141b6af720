"""Penalties, biases and log-probabilities: the tokens and figures are those of a plain implementation
over the engine's logits."""

import json

import numpy as np
import pytest

from tests.support import models
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, EngineError, Grammar, Request, RequestError, SamplingParams

PROMPT = probe_tokens(models.VOCAB_SIZE, seed=1, count=20)


def plain_run(engine, params, prompt=PROMPT, **acting):
    """Greedy decoding by prefills of everything so far: (tokens, the model's own log-probabilities at each)."""
    tokens, rows = [], []
    for _ in range(params.max_tokens):
        logits = engine.logits([*prompt, *tokens], **acting)[-1].astype(np.float64)
        rows.append(logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max())
        for token, bias in params.logit_bias.items():
            logits[token] += bias
        for token in {*prompt, *tokens}:
            factor = params.repetition_penalty
            logits[token] = logits[token] / factor if logits[token] > 0 else logits[token] * factor
        for token in set(tokens):
            logits[token] -= params.presence_penalty + params.frequency_penalty * tokens.count(token)
        tokens.append(int(logits.argmax()))
        if tokens[-1] in engine.graph.eos_token_ids:
            break
    return tokens, rows


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"presence_penalty": 1.5},
        {"frequency_penalty": 0.8},
        {"presence_penalty": -2, "frequency_penalty": -2},
        {"logit_bias": {7: 100, 9: -100}, "frequency_penalty": 2},
        {"repetition_penalty": 1.4, "presence_penalty": 0.7, "logit_bias": {11: 3}},
    ],
)
def test_tokens_and_figures_are_those_of_a_plain_implementation(settings, tiny_engine):
    params = SamplingParams(max_tokens=16, logprobs=3, **settings)
    tokens, rows = plain_run(tiny_engine, params)
    result = tiny_engine.generate(PROMPT, sampling=params)
    assert list(result.token_ids) == tokens
    assert [each.id for each in result.logprobs] == tokens
    for each, row in zip(result.logprobs, rows, strict=True):
        assert each.logprob == pytest.approx(row[each.id], abs=1e-4)
        best = np.argsort(-row, kind="stable")[:3]
        assert [token for token, _, _ in each.top] == best.tolist()
        assert [figure for _, _, figure in each.top] == pytest.approx(row[best].tolist(), abs=1e-4)
    bare = tiny_engine.generate(PROMPT, sampling=SamplingParams(max_tokens=16, **settings))
    assert (list(bare.token_ids), bare.logprobs) == (tokens, ())


def test_bytes_of_tokens_come_to_the_text(tiny_engine):
    result = tiny_engine.generate(
        "äß€", sampling=SamplingParams(max_tokens=24, logprobs=0, temperature=1, seed=3, logit_bias={0: -100, 1: -100})
    )
    written = b"".join(each.text for each in result.logprobs if each.id not in tiny_engine.graph.eos_token_ids)
    assert written.decode(errors="replace") == result.text
    assert all(each.top == () for each in result.logprobs)
    assert tiny_engine._codec.bytes_of(2) == b"<|im_end|>"


def test_seeds_draw_the_same_whether_figures_are_asked_for_or_not(tiny_engine):
    settings = {"max_tokens": 20, "temperature": 1.2, "seed": 11, "presence_penalty": 0.5, "top_p": 0.9}
    runs = [
        tiny_engine.generate(PROMPT, sampling=SamplingParams(logprobs=asked, **settings)) for asked in (None, 0, 20, 5)
    ]
    assert len({run.token_ids for run in runs}) == 1
    assert [len(run.logprobs[0].top) for run in runs[1:]] == [0, 20, 5]


def test_the_prompts_figures_are_those_of_its_logits(tiny_engine, tiny_adapter, monkeypatch):
    monkeypatch.setattr(tiny_engine._scheduler, "chunk_tokens", 7)
    names = []
    for adapter in (tiny_adapter("prompt"), tiny_adapter("lora")):
        tiny_engine.attach(AdapterSpec.read(adapter.name, adapter.slots))
        names.append(adapter.name)
    for experts in ((), tuple(names)):
        params = SamplingParams(max_tokens=2, logprobs=1, prompt_logprobs=True)
        for _ in range(2):  # also when its beginning is known
            result = tiny_engine.generate(PROMPT, experts=experts, sampling=params)
            logits = tiny_engine.logits(PROMPT, experts=experts).astype(np.float64)
            wide = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            assert result.prompt_logprobs[0] is None
            got = [each.logprob for each in result.prompt_logprobs[1:]]
            assert got == pytest.approx(
                [row[token] for row, token in zip(wide[:-1], PROMPT[1:], strict=True)], abs=1e-4
            )


def test_what_a_grammar_leaves_no_choice_is_certain(tiny_engine):
    schema = {"type": "object", "properties": {"name": {"enum": ["abc"]}}, "required": ["name"]}
    grammar = Grammar(kind="json_schema", text=json.dumps(schema))
    result = tiny_engine.generate("x", sampling=SamplingParams(max_tokens=60, grammar=grammar, logprobs=2))
    assert [each.id for each in result.logprobs] == list(result.token_ids)
    assert any(each.logprob == 0 and not each.top for each in result.logprobs)
    assert b"".join(each.text for each in result.logprobs if each.id > 2).decode() == result.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"presence_penalty": 2.1}, "presence_penalty must be -2 to 2"),
        ({"frequency_penalty": float("nan")}, "frequency_penalty must be -2 to 2"),
        ({"logit_bias": {1: 101}}, "a logit_bias must be -100 to 100"),
        ({"logit_bias": {-1: 1}}, "a logit_bias must be -100 to 100"),
        ({"logit_bias": {"1": 1}}, "must be a whole number"),
        ({"logit_bias": [1]}, "logit_bias maps"),
        ({"logprobs": 21}, "logprobs must be 0 to 20"),
        ({"logprobs": True}, "logprobs must be a whole number"),
        ({"prompt_logprobs": True}, "logprobs must be given with prompt_logprobs"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings, message):
    with pytest.raises(RequestError, match=message):
        SamplingParams(**settings)


def test_a_bias_for_a_token_that_is_not_there_is_refused(tiny_engine):
    with pytest.raises(RequestError, match="a token that the base does not have"):
        tiny_engine.submit(Request(prompt=PROMPT, sampling=SamplingParams(logit_bias={models.VOCAB_SIZE: 1})))


@pytest.mark.parametrize("acting", [(), ("lora",), ("lora", "prompt")])
def test_what_is_preempted_goes_on_where_it_was(acting, tiny_engine, tiny_adapter):
    for kind in acting:
        tiny_engine.attach(AdapterSpec.read(kind, tiny_adapter(kind).slots))
    sampling = SamplingParams(max_tokens=60, temperature=0.9, seed=5, logprobs=1, frequency_penalty=0.3)
    request = Request(prompt=PROMPT, experts=acting, sampling=sampling)
    alone = tiny_engine.generate_batch([request])[0]
    tiny_engine._prefixes.clear()
    sequence = tiny_engine.submit(request)
    for number in range(100):
        if sequence.is_finished:
            break
        tiny_engine.step()
        assert tiny_engine.violations() == []
        if number in (0, 5, 30):
            tiny_engine.preempt(sequence)
            assert tiny_engine._scheduler.is_idle
            if number == 30:
                tiny_engine._prefixes.clear()
            tiny_engine.enqueue(sequence)
    got = sequence.result()
    assert (got.token_ids, got.text, got.finish_reason) == (alone.token_ids, alone.text, alone.finish_reason)
    assert [each.logprob for each in got.logprobs] == pytest.approx([each.logprob for each in alone.logprobs], abs=1e-3)


def test_a_row_by_which_a_run_fails_ends_alone(tiny_engine, monkeypatch):
    sampling = SamplingParams(max_tokens=12)
    prompts = [probe_tokens(models.VOCAB_SIZE, seed=seed, count=9) for seed in range(4)]
    alone = [tiny_engine.generate(prompt, sampling=sampling).token_ids for prompt in prompts]
    sequences = [tiny_engine.submit(Request(prompt=prompt, sampling=sampling)) for prompt in prompts]
    decode, bad = tiny_engine._runner.decode, sequences[2]

    def fail(tokens, *planned):
        if bad.lane is not None and bad.lane < len(tokens) and tokens[bad.lane] and len(bad.token_ids) > 3:
            raise EngineError("the graph could not be run")
        return decode(tokens, *planned)

    monkeypatch.setattr(tiny_engine._runner, "decode", fail)
    while not all(sequence.is_finished for sequence in sequences):
        tiny_engine.step()
        assert tiny_engine.violations() == []
    assert [sequence.finish_reason == "error" for sequence in sequences] == [False, False, True, False]
    assert [tuple(each.token_ids) for each in sequences if each is not bad] == [*alone[:2], alone[3]]
