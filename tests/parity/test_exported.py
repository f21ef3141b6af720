"""Bases whose graph is traced through Optimum: alone, with adapters, and several at once,
against Transformers and PEFT."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel, PromptTuningConfig
from transformers import GPT2Config, GPT2LMHeadModel

from tests.support.models import VOCAB_SIZE, load, save_adapter, save_tiny_model, save_tokenizer
from tests.support.traced_models import TRACED, save_traced_model
from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.base.export import export_base
from xpm_build.base.exporters import exporter_for
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.graph import GraphSpec

TOLERANCE = 1e-3  # of the largest logit
KINDS = ("lora", "dora", "ia3")


@dataclass(frozen=True)
class Traced:
    architecture: str
    source: Path
    graph: Path
    adapters: dict[str, Path]  # as PEFT saved them
    slots: dict[str, Path]


@pytest.fixture(scope="module", params=TRACED)
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder = tmp_path_factory.mktemp(request.param)
    source = save_traced_model(folder / "source", request.param)
    export_base(source, folder / "graph")
    model = load(source)
    configs = TRACED[request.param].adapters()
    configs["prompt"] = PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")
    adapters, slots = {}, {}
    for seed, (kind, config) in enumerate(configs.items()):
        adapters[kind] = save_adapter(source, folder / kind, config, seed=seed)
        slots[kind] = folder / f"{kind}.safetensors"
        save_slots(compile_adapter(adapters[kind], adaptable(model)), slots[kind], base_digest=base_digest(model))
    return Traced(request.param, source, folder / "graph", adapters, slots)


@pytest.fixture
def engine(traced: Traced) -> Engine:
    with Engine.load(traced.graph, device="cpu", threads=1, max_lanes=4, context=400) as engine:
        for number, (kind, slots) in enumerate(traced.slots.items()):
            engine.attach(AdapterSpec.read(kind, slots, load_order=number + 1))
        yield engine


def assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert np.abs(got - wanted).max() <= TOLERANCE * np.abs(wanted).max()


def test_the_base_computes_what_transformers_does(traced: Traced, engine: Engine) -> None:
    tokens = probe_tokens(engine.graph.vocab_size, count=40)
    assert engine.kernels == "exported"
    assert_close(engine.logits(tokens), reference_logits(load(traced.source), tokens))


@pytest.mark.parametrize("kind", [*KINDS, "prompt"])
def test_adapters_compute_what_peft_does(traced: Traced, engine: Engine, kind: str) -> None:
    tokens = probe_tokens(engine.graph.vocab_size, count=40)
    base = load(traced.source)
    alone = reference_logits(base, tokens)
    wanted = reference_logits(PeftModel.from_pretrained(base, str(traced.adapters[kind])).eval(), tokens)
    assert np.abs(wanted - alone).max() > 0.05 * np.abs(alone).max()
    assert_close(engine.logits(tokens, experts=[kind]), wanted)


@pytest.mark.parametrize("count", [9, 300])  # 300 are prefilled in two chunks
def test_greedy_decoding_is_that_of_transformers(traced: Traced, engine: Engine, count: int) -> None:
    tokens = probe_tokens(engine.graph.vocab_size, count=count, seed=1)
    got = engine.generate(tokens, sampling=SamplingParams(max_tokens=20)).token_ids
    with torch.no_grad():
        wanted = load(traced.source).generate(
            torch.tensor([tokens]), attention_mask=torch.ones(1, count), max_new_tokens=20, do_sample=False
        )
    assert list(got) == [token for token in wanted[0, count:].tolist() if token not in engine.graph.eos_token_ids]


def test_rows_of_different_experts_equal_single_runs(traced: Traced, engine: Engine) -> None:
    compositions = [(), ("lora",), ("ia3",), ("lora", "ia3"), ("prompt", "dora"), ("dora",), ("lora",)]
    requests = [
        Request(
            prompt=probe_tokens(engine.graph.vocab_size, count=5 + 3 * number, seed=number),
            experts=composition,
            sampling=SamplingParams(max_tokens=4 + 2 * number),
        )
        for number, composition in enumerate(compositions)
    ]
    singly = [engine.generate_batch([request])[0].token_ids for request in requests]
    with Engine.load(traced.graph, device="cpu", threads=1, max_lanes=3, context=400) as fresh:
        for number, (kind, slots) in enumerate(traced.slots.items()):
            fresh.attach(AdapterSpec.read(kind, slots, load_order=number + 1))
        assert [result.token_ids for result in fresh.generate_batch(requests)] == singly


def test_a_known_beginning_is_not_computed_again(engine: Engine) -> None:
    tokens = probe_tokens(engine.graph.vocab_size, count=50)
    first, second = (engine.generate(tokens, sampling=SamplingParams(max_tokens=8)) for _ in range(2))
    assert (first.token_ids, first.num_reused_tokens, second.num_reused_tokens) == (second.token_ids, 0, 48)


def test_a_model_that_can_be_written_has_the_same_slots_when_it_is_traced(tmp_path: Path) -> None:
    source = save_tiny_model(tmp_path / "source", architecture="qwen2")
    for exporter in ("written", "optimum"):
        export_base(source, tmp_path / exporter, exporter=exporter)
    written, traced = (GraphSpec.read(tmp_path / exporter) for exporter in ("written", "optimum"))
    assert (written.linears, written.base_digest) == (traced.linears, traced.base_digest)
    tokens = probe_tokens(written.vocab_size)
    logits = []
    for exporter in ("written", "optimum"):
        with Engine.load(tmp_path / exporter, device="cpu", threads=1, max_lanes=1) as engine:
            logits.append(engine.logits(tokens))
    assert_close(*logits)


def test_a_model_of_many_layers_is_loaded(tmp_path: Path) -> None:
    shape = {"vocab_size": VOCAB_SIZE, "n_positions": 64, "n_embd": 16, "n_head": 2, "n_layer": 60}
    GPT2LMHeadModel(GPT2Config(**shape, pad_token_id=0)).save_pretrained(tmp_path / "source")
    save_tokenizer(tmp_path / "source")
    export_base(tmp_path / "source", tmp_path / "graph")
    tokens = probe_tokens(VOCAB_SIZE)
    with Engine.load(tmp_path / "graph", device="cpu", threads=1, max_lanes=1) as engine:
        assert_close(engine.logits(tokens), reference_logits(load(tmp_path / "source"), tokens))


def test_what_nobody_can_export_is_refused(tmp_path: Path) -> None:
    source = save_tiny_model(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"model_type": "nonesuch"}))
    with pytest.raises(BuildError, match="bases of type 'nonesuch' are not supported"):
        exporter_for(source)
