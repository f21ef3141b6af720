"""How strongly an adapter acts is a request's own: what it changes is multiplied by its scale, in
every form and beside others."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.support import models
from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.base.export import export_base
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_runtime import AdapterSpec, Engine, EngineError, Request, RequestError, SamplingParams

KINDS = ("lora", "dora", "ia3", "partial")
TOKENS = probe_tokens(models.VOCAB_SIZE, seed=7, count=21)
FORMS = {  # kernels: (variant, exporter, share of the largest logit by which numbers may differ)
    "portable": ("fp32", "written", 1e-4),
    "native": ("int8", "written", 1e-2),
    "cuda": ("fp16", "written", 2e-2),
    "exported": ("fp32", "optimum", 1e-3),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny_model(tmp_path_factory.mktemp("scaled") / "source", architecture="qwen2")


@pytest.fixture(scope="module")
def adapters(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that hold what PEFT saved, and ``slots.safetensors`` beside it."""
    model, found = models.load(source), {}
    for seed, kind in enumerate((*KINDS, "prompt")):
        found[kind] = folder = tmp_path_factory.mktemp(kind)
        models.save_adapter(source, folder, models.CONFIGS[kind](), seed=seed)
        save_slots(
            compile_adapter(folder, adaptable(model)), folder / "slots.safetensors", base_digest=base_digest(model)
        )
    return found


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(kernels, a base that has a graph for them)."""
    variant, exporter, _ = FORMS[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "graph"
    export_base(source, folder, variant=variant, exporter=exporter)
    return request.param, folder


@pytest.fixture
def engine(form: tuple[str, Path], adapters: dict[str, Path]) -> Iterator[Engine]:
    kernels, folder = form
    with Engine.load(folder, device="cpu", kernels=kernels, threads=1, max_lanes=4, context=128) as engine:
        for number, (kind, path) in enumerate(adapters.items()):
            engine.attach(AdapterSpec.read(kind, path, load_order=number + 1))
        yield engine


def rescaled(adapter: Path, scale: float, folder: Path) -> Path:
    """A copy of a compiled adapter that changes ``scale`` times as much."""
    path = adapter / "slots.safetensors"
    tensors = {
        name: np.float32(scale) * tensor if name.endswith(".B") or name in ("scales", "offsets") else tensor
        for name, tensor in load_file(path).items()
    }
    with safe_open(path, "np") as file:
        save_file(tensors, folder / f"{scale}.safetensors", metadata=file.metadata())
    return folder / f"{scale}.safetensors"


def peft_at(source: Path, adapter: Path, scale: float) -> object:
    """PEFT's model, with what each of its layers changes multiplied by ``scale``."""
    model = PeftModel.from_pretrained(models.load(source), str(adapter)).eval()

    def rescale(module: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> torch.Tensor:
        plain = module.base_layer(given[0])
        return plain + scale * (made - plain)

    for module in model.modules():
        if hasattr(module, "base_layer"):
            module.register_forward_hook(rescale)
    return model


def near(form: tuple[str, Path], got: object, wanted: object) -> bool:
    return bool(np.abs(np.asarray(got) - wanted).max() <= FORMS[form[0]][2] * np.abs(np.asarray(wanted)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_scaled_adapter_changes_as_many_times_as_much(kind, form, engine, adapters, tmp_path):
    for scale in (0.4, -1.0, 2.5):
        got = engine.logits(TOKENS, experts=[kind], scales=[scale])
        name = f"{kind} {scale}"
        engine.attach(AdapterSpec.read(name, rescaled(adapters[kind], scale, tmp_path)))
        assert near(form, got, engine.logits(TOKENS, experts=[name])), scale
        assert not near(form, got, engine.logits(TOKENS, experts=[kind])), scale


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_peft_computes_with_its_layers_scaled(kind, form, engine, adapters, source):
    if form[0] in ("native",):
        pytest.skip("its weights are quantised, PEFT's are not")
    for scale in (0.4, -1.0):
        wanted = reference_logits(peft_at(source, adapters[kind], scale), TOKENS)
        assert near(form, engine.logits(TOKENS, experts=[kind], scales=[scale]), wanted), scale


def test_scale_one_is_the_same_to_the_bit_and_scale_zero_is_the_base(engine):
    for kind in (*KINDS, "prompt"):
        plain = engine.logits(TOKENS, experts=[kind])
        assert (engine.logits(TOKENS, experts=[kind], scales=[1]) == plain).all()
        assert (engine.logits(TOKENS, experts=[kind], scales=[0]) == engine.logits(TOKENS)).all()


def test_rows_of_different_scales_write_what_each_writes_alone(form, engine, adapters):
    rows = [
        ((), ()),
        (("lora",), (0.5,)),
        (("lora",), (-0.7,)),
        (("lora", "dora", "ia3"), (1, 0.3, 1.2)),
        (("dora", "prompt"), (0.8, 1)),
        (("ia3", "prompt"), (-0.5, 0)),
        (("lora", "partial"), ()),
    ]
    requests = [
        Request(prompt=TOKENS[: 8 + n], experts=row, scales=scales, sampling=SamplingParams(max_tokens=12))
        for n, (row, scales) in enumerate(rows)
    ]
    alone = [engine.generate_batch([each])[0] for each in requests]
    with Engine.load(form[1], device="cpu", kernels=form[0], threads=1, max_lanes=4, context=128) as fresh:
        for number, (kind, path) in enumerate(adapters.items()):
            fresh.attach(AdapterSpec.read(kind, path, load_order=number + 1))
        together = fresh.generate_batch(requests)
        assert fresh.violations() == []
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]
    assert alone[5].experts == ("ia3",)


def test_rows_whose_ranks_have_no_room_together_wait_for_each_other(form, engine, monkeypatch):
    rows = [(("lora",), (0.5,)), (("lora",), (-0.7,)), (("lora", "partial"), ()), ((), ())]
    requests = [
        Request(prompt=TOKENS[: 8 + n], experts=row, scales=scales, sampling=SamplingParams(max_tokens=12))
        for n, (row, scales) in enumerate(rows)
    ]
    together = engine.generate_batch(requests)
    packed, fit = [], engine._packs.fit
    monkeypatch.setattr(type(engine._packs._form), "max_rank", 12)
    monkeypatch.setattr(engine._packs, "fit", lambda rows: packed.append(fit(rows)) or packed[-1])
    apart = engine.generate_batch(requests)
    assert any(not all(fits) for fits in packed)
    assert [each.token_ids for each in apart] == [each.token_ids for each in together]
    assert engine.violations() == []


def test_prefixes_of_other_scales_are_not_reused(tiny_engine, tiny_adapter):
    adapter = tiny_adapter("lora")
    tiny_engine.attach(AdapterSpec.read("one", adapter.slots))

    def ask(*scales: float) -> int:
        prompt = probe_tokens(models.VOCAB_SIZE, seed=2, count=40)
        return tiny_engine.generate_batch([Request(prompt=prompt, experts=("one",), scales=scales)])[
            0
        ].num_reused_tokens

    assert [ask(), ask(0.5), ask(0.5), ask(1), ask(-0.5)] == [0, 0, 32, 32, 0]


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((1,), "each expert needs a scale"),
        ((1, float("nan")), "the scale of lora-1 must be -100 to 100"),
        ((1, 101), "the scale of lora-1 must be -100 to 100"),
        ((1, "2"), "must be a number"),
        ((0.5, 1), "has a soft prompt"),
    ],
)
def test_scales_that_can_not_be_are_refused(scales, message, tiny_engine, tiny_adapter):
    names = []
    for adapter in (tiny_adapter("prompt"), tiny_adapter("lora")):
        tiny_engine.attach(AdapterSpec.read(adapter.name, adapter.slots))
        names.append(adapter.name)
    with pytest.raises(RequestError, match=message):
        tiny_engine.submit(Request(prompt=TOKENS, experts=tuple(names), scales=scales))
    assert tiny_engine._scheduler.is_idle


def test_what_leaves_the_number_type_ends_its_own_request(form, engine, adapters, tmp_path):
    if form[0] != "cuda":
        pytest.skip("only float16 is left that soon")
    engine.attach(AdapterSpec.read("large", rescaled(adapters["lora"], 20_000, tmp_path)))
    good = Request(prompt=TOKENS, experts=("lora",), sampling=SamplingParams(max_tokens=6))
    bad = Request(prompt=TOKENS, experts=("large",), scales=(100,), sampling=SamplingParams(max_tokens=6))
    alone = engine.generate_batch([good])[0]
    both = engine.generate_batch([good, bad])
    assert both[0].token_ids == alone.token_ids
    assert (both[1].finish_reason, "beyond float16" in (both[1].error or "")) == ("error", True)
    with pytest.raises(EngineError, match="beyond float16"):
        engine.logits(TOKENS, experts=["large"], scales=[100])
