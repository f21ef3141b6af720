"""Every architecture, with every kind of adapter, in every variant and with either kernels,
against Transformers and PEFT.

Quantised bases are compared with Transformers on their own, dequantised weights.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftModel

from tests.support import models
from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.base.export import export_base
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import probe_tokens, quantise_weights, reference_logits
from xpm_build.base.quantize import BITS
from xpm_runtime import AdapterSpec, Engine
from xpm_runtime.adapter import SLOTS
from xpm_runtime.native import library

TOKENS = probe_tokens(models.VOCAB_SIZE, seed=7, count=21)
# Share of the largest logit that may differ: what 8-bit activations cost is the kernels' own.
TOLERANCE = {
    ("fp32", "portable"): 5e-5,
    ("fp16", "portable"): 1e-2,
    ("int8", "portable"): 5e-2,
    ("int4", "portable"): 5e-2,
    ("int8", "native"): 2e-2,
    ("int4", "native"): 2e-2,
}
NONE = "none"


class Bench:
    """Bases, adapters and references of one test session, each made once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.source = cache(lambda kind: models.save_tiny_model(root / kind / "source", architecture=kind))
        self.graph = cache(self._graph)
        self.digest = cache(lambda kind: base_digest(models.load(self.source(kind))))
        self.adapter = cache(self._adapter)
        self.wanted = cache(self._wanted)

    def _graph(self, architecture: str, variant: str) -> Path:
        out = self._root / architecture / variant
        export_base(self.source(architecture), out, variant=variant)
        return out

    def _adapter(self, architecture: str, kind: str, bits: int) -> tuple[Path, Path]:
        """What PEFT saved, and what it compiles to beside the weights that it will act on
        (DoRA's norm depends on them)."""
        folder = self._root / architecture / "adapters" / kind
        source = self.source(architecture)
        peft = folder / "peft"
        if not peft.is_dir():
            models.save_adapter(source, peft, models.CONFIGS[kind](), seed=1)
        slots = folder / f"{bits}-{SLOTS}"
        save_slots(
            compile_adapter(peft, adaptable(self._model(architecture, bits))),
            slots,
            base_digest=self.digest(architecture),
        )
        return peft, slots

    def _wanted(self, architecture: str, kind: str, bits: int) -> np.ndarray:
        model = self._model(architecture, bits)
        if kind == NONE:
            return reference_logits(model, TOKENS)
        peft, _ = self.adapter(architecture, kind, bits)
        return reference_logits(PeftModel.from_pretrained(model, str(peft)).eval(), TOKENS)

    def _model(self, architecture: str, bits: int) -> Any:
        model = models.load(self.source(architecture))
        if bits:
            quantise_weights(model, bits=bits, block=32)
        return model


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("kernels", ["portable", "native"])
@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("architecture", sorted(models.ARCHITECTURES))
def test_every_adapter(architecture, variant, kernels, bench):
    if (variant, kernels) not in TOLERANCE:
        pytest.skip("only quantised bases have native kernels")
    if kernels == "native" and library() is None:
        pytest.skip("this machine can't run the native kernels")
    bits = BITS.get(variant, 0)
    with Engine.load(bench.graph(architecture, variant), device="cpu", threads=1, kernels=kernels) as engine:
        alone = engine.logits(TOKENS)
        for kind in [NONE, *models.CONFIGS]:
            experts = []
            if kind != NONE:
                engine.attach(AdapterSpec.read(kind, bench.adapter(architecture, kind, bits)[1]))
                experts = [kind]
            got, wanted = engine.logits(TOKENS, experts=experts), bench.wanted(architecture, kind, bits)
            error = np.abs(got - wanted).max() / np.abs(wanted).max()
            assert error < TOLERANCE[variant, kernels], f"{kind}: {error}"
            assert kind == NONE or np.abs(got - alone).max() > 0.02, (
                f"{kind} changes nothing, so parity would say nothing"
            )
