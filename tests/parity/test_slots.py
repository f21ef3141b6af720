"""The slots compute what Transformers and PEFT compute: single adapters, compositions, and mixed batches."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from tests.support import models
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams

TOLERANCE = 1e-4
TOKENS = probe_tokens(models.VOCAB_SIZE, seed=7, count=21)


def _attach(engine, *adapters, load_order=5):
    for adapter in adapters:
        engine.attach(AdapterSpec.read(adapter.name, adapter.slots, load_order=load_order))
    return [adapter.name for adapter in adapters]


def _peft(tiny_base, *adapters):
    """PEFT with all of ``adapters`` active at once."""
    model = PeftModel.from_pretrained(
        models.load(tiny_base.source), str(adapters[0].peft), adapter_name=adapters[0].name
    )
    for adapter in adapters[1:]:
        model.load_adapter(str(adapter.peft), adapter_name=adapter.name)
    if len(adapters) > 1:
        model.base_model.set_adapter([adapter.name for adapter in adapters])
    return model.eval()


def test_the_base_alone(tiny_base, tiny_engine):
    wanted = reference_logits(models.load(tiny_base.source), TOKENS)
    assert np.abs(tiny_engine.logits(TOKENS) - wanted).max() < TOLERANCE


@pytest.mark.parametrize("kind", sorted(models.CONFIGS))
def test_one_adapter(kind, tiny_base, tiny_adapter, tiny_engine):
    adapter = tiny_adapter(kind)
    base = tiny_engine.logits(TOKENS)
    names = _attach(tiny_engine, adapter)
    got = tiny_engine.logits(TOKENS, experts=names)
    wanted = reference_logits(_peft(tiny_base, adapter), TOKENS)
    assert np.abs(got - base).max() > 0.05, "the adapter changes nothing, so parity would say nothing"
    assert np.abs(got - wanted).max() < TOLERANCE


@pytest.mark.parametrize("kinds", [("lora", "lora"), ("lora", "partial"), ("dora", "lora"), ("ia3", "ia3")])
def test_two_adapters(kinds, tiny_base, tiny_adapter, tiny_engine):
    adapters = [tiny_adapter(kind, seed) for seed, kind in enumerate(kinds, start=1)]
    got = tiny_engine.logits(TOKENS, experts=_attach(tiny_engine, *adapters))
    assert np.abs(got - reference_logits(_peft(tiny_base, *adapters), TOKENS)).max() < TOLERANCE


def test_ten_adapters(tiny_base, tiny_adapter, tiny_engine):
    adapters = [tiny_adapter("partial" if seed % 2 else "lora", seed) for seed in range(1, 11)]
    got = tiny_engine.logits(TOKENS, experts=_attach(tiny_engine, *adapters))
    assert np.abs(got - reference_logits(_peft(tiny_base, *adapters), TOKENS)).max() < TOLERANCE


def test_rows_of_four_compositions_equal_their_single_runs(tiny_adapter, tiny_engine):
    names = _attach(tiny_engine, *(tiny_adapter(kind) for kind in ("lora", "dora", "ia3", "prompt")))
    lora, dora, ia3, prompt = names
    compositions = [(), (lora,), (dora, ia3), (lora, prompt)]
    sampling = SamplingParams(max_tokens=24)
    prompts = [probe_tokens(models.VOCAB_SIZE, seed=seed, count=5 + 3 * seed) for seed in range(4)]
    requests = [Request(prompt=p, experts=c, sampling=sampling) for p, c in zip(prompts, compositions, strict=True)]
    together = tiny_engine.generate_batch(requests)
    for request, row in zip(requests, together, strict=True):
        alone = tiny_engine.generate(request.prompt, experts=request.experts, sampling=sampling)
        assert row.token_ids == alone.token_ids
    assert len({row.token_ids for row in together}) == 4


def test_logits_of_a_mixed_decode_equal_single_ones(tiny_base, tiny_adapter, tiny_engine, monkeypatch):
    """Every row's logits in a decode of four lanes, against a prefill of the same tokens by an engine of its own."""
    adapters = {adapter.name: adapter for adapter in map(tiny_adapter, ("lora", "dora", "ia3", "prompt"))}
    lora, dora, ia3, prompt = _attach(tiny_engine, *adapters.values())
    decoded = []
    decode = tiny_engine._runner.decode

    def keep(tokens, *args):
        rows = decode(tokens, *args)
        decoded.append(np.stack([rows[row] for row in range(len(tokens))]))
        return rows

    monkeypatch.setattr(tiny_engine._runner, "decode", keep)
    sequences = [
        tiny_engine.submit(Request(prompt=probe_tokens(models.VOCAB_SIZE, seed=seed, count=4 + seed), experts=experts))
        for seed, experts in enumerate([(), (lora,), (dora, ia3), (ia3, prompt)])
    ]
    while not decoded or len(decoded[-1]) < 4:
        tiny_engine.step()
    for row, sequence in zip(decoded[-1], sequences, strict=True):
        history = [*sequence.prompt_ids[sequence.num_soft :], *sequence.token_ids[:-1]]
        with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1) as alone:
            names = _attach(alone, *(adapters[name] for name in sequence.composition))
            assert np.abs(row - alone.logits(history, experts=names)[-1]).max() < 1e-5


def test_decoding_equals_one_prefill(tiny_adapter, tiny_engine):
    """Greedy decoding through the cache writes what repeated prefills of everything so far would."""
    names = _attach(tiny_engine, tiny_adapter("dora"))
    prompt = probe_tokens(models.VOCAB_SIZE, seed=3, count=9)
    result = tiny_engine.generate(prompt, experts=names, sampling=SamplingParams(max_tokens=12))
    tokens = list(prompt)
    for token in result.token_ids:
        assert int(tiny_engine.logits(tokens, experts=names)[-1].argmax()) == token
        tokens.append(token)


def test_a_prompt_longer_than_a_chunk(tiny_base, monkeypatch):
    monkeypatch.setattr("xpm_runtime.engine._CHUNK_TOKENS", 7)
    prompt = probe_tokens(models.VOCAB_SIZE, seed=5, count=40)
    with Engine.load(tiny_base.graph, device="cpu", threads=1) as engine:
        chunked = engine.generate(prompt, sampling=SamplingParams(max_tokens=6))
    model, tokens = models.load(tiny_base.source), torch.tensor([prompt])
    with torch.no_grad():
        wanted = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=6, do_sample=False)
    assert list(chunked.token_ids) == wanted[0, len(prompt) :].tolist()


def test_a_base_only_run_binds_no_slot(tiny_engine):
    tiny_engine.generate(TOKENS, sampling=SamplingParams(max_tokens=3))
    bound = set(tiny_engine._runner._decode.binding._bound)
    assert not {name for name in bound if name.startswith(("slots.", "gate_", "scales", "soft_"))}
