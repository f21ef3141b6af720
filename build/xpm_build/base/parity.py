"""Does an exported base compute what Transformers computes? Every build asks before it writes an archive."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from xpm_build.base.exporters import exporter_for
from xpm_build.base.quality import MAX_WEIGHT_LOSS, Difference, difference, engine_logits, sample
from xpm_build.base.quantize import quantize_matrix
from xpm_build.base.quantizers import text_ids
from xpm_build.errors import BuildError, ParityError
from xpm_runtime import Engine

NUM_TOKENS = 24
# Largest absolute difference of logits that counts as the same computation, as a share of the
# largest logit: what float32 and float16 arithmetic in another order may differ by.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}
# The most that may be lost of what the model's predictions of a text know, as in ``xpm_build.base.quality``.
_MAX_LOSS = {"fp32": 1e-4, "fp16": 1e-2, **MAX_WEIGHT_LOSS}


def probe_tokens(vocab_size: int, *, seed: int = 0, count: int = NUM_TOKENS) -> list[int]:
    """Seeded token ids to compare on."""
    return [int(token) for token in np.random.default_rng(seed).integers(0, vocab_size, count)]


def reference_logits(model: Any, tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits of every position by Transformers (and PEFT), float32 (tokens, vocab); a soft prompt's are left out."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    return logits[-len(tokens) :].to(torch.float32).numpy()


def load_model(source: Path) -> Any:
    """The Hugging Face model of a folder, in float32, on the CPU.

    Raises:
        BuildError: the folder holds no model that is supported and that Transformers can load
            without running code from it.
    """
    exporter_for(source)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BuildError(f"the model in {source} could not be loaded", context=str(error)[:300]) from error
    return model.eval()


def check_base(folder: Path, source: Path, variant: str) -> float:
    """Compare an exported base of floats with Transformers; return the largest difference of logits.

    What is quantised is judged by what it predicts (``xpm_build.base.quality``).

    Raises:
        ParityError: it is larger than the variant allows.
    """
    model = load_model(source)
    tokens = probe_tokens(model.config.vocab_size)
    wanted = reference_logits(model, tokens)
    with Engine.load(folder, device="cpu", threads=1, max_lanes=1, context=64) as engine:
        got = engine.logits(tokens)
    return require_close(got, wanted, TOLERANCE[variant], what=f"the {variant} graph")


def compare_with_source(folder: Path, source: Path, variant: str) -> Difference:
    """How an exported base's predictions of a natural text differ from those of Transformers with the
    model that it was made of.

    Args:
        source: the model's Hugging Face folder.
    Raises:
        ParityError: it loses more than the variant may.
    """
    model = load_model(source)
    ids = sample(text_ids("evaluation", folder), model.config.vocab_size)
    before = np.stack([reference_logits(model, [int(token) for token in row]) for row in ids])
    del model
    found = difference(before, engine_logits(folder, ids))
    if not found.loss <= _MAX_LOSS[variant]:
        raise ParityError(
            f"the {variant} graph predicts otherwise than Transformers does with the model that it was made of",
            context=f"{found}: {found.loss:.2%} of what is known is lost, {_MAX_LOSS[variant]:.2%} is allowed",
            hint="make another variant, or with another quantiser",
        )
    return found


def quantise_weights(model: Any, *, bits: int, block: int) -> None:
    """Replace every matrix that a quantised base stores by what is left of it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and name.endswith(".weight"):
                kept = quantize_matrix(parameter.numpy(), bits=bits, block=block).dequantized()
                parameter.copy_(torch.from_numpy(kept))


def require_close(got: Any, wanted: Any, tolerance: float, *, what: str) -> float:
    """The largest absolute difference of logits.

    Args:
        tolerance: what it may be, as a share of the largest logit (or of 1, where all are smaller).
        what: was computed, for the error.
    Raises:
        ParityError: it is larger.
    """
    error = float(np.abs(got - wanted).max())
    allowed = tolerance * max(1.0, float(np.abs(wanted).max()))
    if not error <= allowed:
        raise ParityError(
            f"{what} does not compute what Transformers and PEFT do",
            context=f"largest difference of logits {error:.2e}, allowed {allowed:.2e}",
        )
    return error
