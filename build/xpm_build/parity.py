"""Does what was built compute what Transformers and PEFT compute? Every build asks before it writes an archive."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from xpm_build.errors import ParityError
from xpm_runtime import AdapterSpec, Engine

NUM_TOKENS = 24
# Largest absolute difference of logits that counts as the same computation, as a share of the largest logit.
FP32_TOLERANCE = 1e-4
QUANTISED_TOLERANCE = {"int8": 0.1, "int4": 1.0}


def probe_tokens(vocab_size: int, *, seed: int = 0, count: int = NUM_TOKENS) -> list[int]:
    """Seeded token ids to compare on."""
    return [int(token) for token in np.random.default_rng(seed).integers(0, vocab_size, count)]


def reference_logits(model: Any, tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits of every position by Transformers (and PEFT), float32 (tokens, vocab); a soft prompt's are left out."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    return logits[-len(tokens) :].to(torch.float32).numpy()


def check_base(folder: Path, model: Any, variant: str) -> float:
    """Compare an exported base with its model; return the largest absolute difference of logits.

    Raises:
        ParityError: it is larger than the variant allows.
    """
    tokens = probe_tokens(model.config.vocab_size)
    wanted = reference_logits(model, tokens)
    with Engine.load(folder, device="cpu", threads=1, max_lanes=1, context=64) as engine:
        got = engine.logits(tokens)
    return _require_close(got, wanted, QUANTISED_TOLERANCE.get(variant, FP32_TOLERANCE), what=f"the {variant} graph")


def check_adapter(base: Path, model: Any, peft_folder: Path, slots: Path) -> float:
    """Compare a compiled adapter on the float32 graph in ``base`` with PEFT; return the largest absolute difference.

    ``model`` is altered by PEFT and must not be used afterwards.

    Raises:
        ParityError: they differ, or the adapter changes nothing.
    """
    tokens = probe_tokens(model.config.vocab_size)
    wanted = reference_logits(PeftModel.from_pretrained(model, str(peft_folder)).eval(), tokens)
    with Engine.load(base, device="cpu", threads=1, max_lanes=1, context=512) as engine:
        engine.attach(AdapterSpec.read("adapter", slots))
        got = engine.logits(tokens, experts=["adapter"])
    return _require_close(got, wanted, FP32_TOLERANCE, what="the compiled adapter")


def _require_close(got: Any, wanted: Any, tolerance: float, *, what: str) -> float:
    error = float(np.abs(got - wanted).max())
    allowed = tolerance * max(1.0, float(np.abs(wanted).max()))
    if not error <= allowed:
        raise ParityError(
            f"{what} does not compute what Transformers and PEFT do",
            context=f"largest difference of logits {error:.2e}, allowed {allowed:.2e}",
        )
    return error
