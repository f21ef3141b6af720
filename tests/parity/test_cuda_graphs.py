"""The graphs made for CUDA, and how they are run, on the CPU: bases without normed heads, which its
attention has no kernel for."""

from pathlib import Path

import numpy as np
import pytest

from tests.support import models
from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.base.export import export_base
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import reference_logits
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.adapter import SLOTS

TOKENS = [int(token) for token in np.random.default_rng(3).integers(3, 250, 30)]


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the Hugging Face folder, the exported one)."""
    root = tmp_path_factory.mktemp("cuda")
    source = models.save_tiny_model(root / "source", architecture=request.param)
    export_base(source, root / "fp16", variant="fp16")
    return source, root / "fp16"


def load(base: tuple[Path, Path]) -> Engine:
    return Engine.load(base[1], device="cpu", kernels="cuda", max_lanes=4, context=128)


def attach(engine: Engine, source: Path, name: str, folder: Path, *, seed: int) -> object:
    """Attach a random adapter of a kind; what PEFT computes with it."""
    from peft import PeftModel

    models.save_adapter(source, folder, models.CONFIGS[name](), seed=seed)
    save_slots(
        compile_adapter(folder, adaptable(models.load(source))), folder / SLOTS, base_digest=engine.graph.base_digest
    )
    engine.attach(AdapterSpec.read(name, folder))
    return reference_logits(PeftModel.from_pretrained(models.load(source), str(folder)).eval(), TOKENS)


def close(got: object, wanted: object) -> bool:
    return float(np.abs(np.asarray(got) - wanted).max()) <= 2e-2 * float(np.abs(np.asarray(wanted)).max())


def test_base_and_each_method_compute_what_peft_does(base: tuple[Path, Path], tmp_path: Path) -> None:
    source, _ = base
    with load(base) as engine:
        assert close(engine.logits(TOKENS), reference_logits(models.load(source), TOKENS))
        for seed, name in enumerate(("lora", "dora", "ia3", "prompt", "partial")):
            wanted = attach(engine, source, name, tmp_path / name, seed=seed)
            assert close(engine.logits(TOKENS, experts=[name]), wanted), name
        assert close(engine.logits(TOKENS), reference_logits(models.load(source), TOKENS))


def test_rows_of_different_experts_write_what_each_writes_alone(base: tuple[Path, Path], tmp_path: Path) -> None:
    source, _ = base
    with load(base) as engine:
        for seed, name in enumerate(("lora", "dora", "ia3", "prompt")):
            attach(engine, source, name, tmp_path / name, seed=seed)
        rows: list[tuple[str, ...]] = [(), ("lora",), ("dora",), ("ia3",), ("prompt",), ("lora", "dora", "ia3")]
        requests = [
            Request(prompt=TOKENS[: 8 + n], experts=row, sampling=SamplingParams(max_tokens=12))
            for n, row in enumerate(rows)
        ]
        together = engine.generate_batch(requests)
        alone = [engine.generate(each.prompt, experts=each.experts, sampling=each.sampling) for each in requests]
        assert [each.token_ids for each in together] == [each.token_ids for each in alone]
        assert engine.violations() == []


def test_a_float32_base_has_no_graph_for_cuda(base: tuple[Path, Path], tmp_path: Path) -> None:
    export_base(base[0], tmp_path, variant="fp32")
    assert not list(tmp_path.glob("cuda*"))
