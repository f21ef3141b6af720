"""Does what was built compute what Transformers and PEFT compute? Every build asks before it writes an archive."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from xpm_build.adapters import compile_adapter, save_slots
from xpm_build.errors import BuildError, ParityError
from xpm_build.export import load_model
from xpm_build.peft_files import ADAPTER_CONFIG
from xpm_build.quantize import BITS, quantize_matrix
from xpm_runtime import AdapterSpec, Engine
from xpm_runtime.adapter import SLOTS

NUM_TOKENS = 24
# Largest absolute difference of logits that counts as the same computation, as a share of the largest logit: what float32 and
# float16 arithmetic in another order may differ by, and what 8-bit activations cost beside the same (dequantised) weights:
# our kernels stay below 0.02, ONNX Runtime's, with fewer scales, below 0.05.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 5e-2, "int4": 5e-2}
# The same for an expert on a float32 base, by how its numbers are stored.
STORAGE_TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "int8": 5e-2}


def probe_tokens(vocab_size: int, *, seed: int = 0, count: int = NUM_TOKENS) -> list[int]:
    """Seeded token ids to compare on."""
    return [int(token) for token in np.random.default_rng(seed).integers(0, vocab_size, count)]


def reference_logits(model: Any, tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits of every position by Transformers (and PEFT), float32 (tokens, vocab); a soft prompt's are left out."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    return logits[-len(tokens) :].to(torch.float32).numpy()


def check_base(folder: Path, source: Path, variant: str, *, block: int) -> float:
    """Compare an exported base with Transformers on the weights that it stores; return the largest difference of logits.

    A quantised variant is compared with its own, dequantised weights: the difference is the computation's, not the quantisation's.

    Raises:
        ParityError: it is larger than the variant allows.
    """
    model = load_model(source)
    if variant in BITS:
        quantise_weights(model, bits=BITS[variant], block=block)
    tokens = probe_tokens(model.config.vocab_size)
    wanted = reference_logits(model, tokens)
    with Engine.load(folder, device="cpu", threads=1, max_lanes=1, context=64) as engine:
        got = engine.logits(tokens)
    return _require_close(got, wanted, TOLERANCE[variant], what=f"the {variant} graph")


def quantise_weights(model: Any, *, bits: int, block: int) -> None:
    """Replace every matrix that a quantised base stores by what is left of it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and name.endswith(".weight"):
                kept = quantize_matrix(parameter.numpy(), bits=bits, block=block).dequantized()
                parameter.copy_(torch.from_numpy(kept))


def check_adapter(
    base: Path, source: Path, peft_folders: list[Path], slots: Path, *, storage: str, truncation: float
) -> float:
    """Compare a compiled expert on the float32 graph in ``base`` with PEFT; return the largest absolute difference.

    PEFT can't have adapters of different methods act together, so several are each compared with PEFT, and the expert with a
    composition of them.

    Args:
        source: the base's Hugging Face folder.
        truncation: the share of an update that had to be cut; the difference is then reported, not judged.
    Raises:
        ParityError: they differ.
    """
    allowed = math.inf if truncation else STORAGE_TOLERANCE[storage]
    with Engine.load(base, device="cpu", threads=1, max_lanes=1, context=512) as engine:
        tokens = probe_tokens(engine.graph.vocab_size)
        engine.attach(AdapterSpec.read("expert", slots))
        got = engine.logits(tokens, experts=["expert"])
        if len(peft_folders) == 1:
            return _require_close(
                got, _peft_logits(source, peft_folders[0], tokens), allowed, what="the compiled adapter"
            )
        names, errors = [], []
        for number, folder in enumerate(peft_folders):
            with tempfile.TemporaryDirectory(prefix="xpm-slots-") as scratch:
                one = Path(scratch) / SLOTS
                adapter = compile_adapter(folder, load_model(source))
                save_slots(adapter, one, base_digest=engine.graph.base_digest)
                names.append(f"adapter-{number}")
                engine.attach(AdapterSpec.read(names[-1], one, load_order=number + 1))
            wanted = _peft_logits(source, folder, tokens)
            alone = engine.logits(tokens, experts=names[-1:])
            errors.append(
                _require_close(
                    alone,
                    wanted,
                    math.inf if truncation else STORAGE_TOLERANCE["float32"],
                    what=f"adapter {folder.name}",
                )
            )
        together = engine.logits(tokens, experts=names)
        return max(*errors, _require_close(got, together, allowed, what="the expert of several adapters"))


def _peft_logits(source: Path, folder: Path, tokens: list[int]) -> Any:
    try:
        adapted = PeftModel.from_pretrained(load_model(source), str(folder)).eval()
    except Exception as error:  # PEFT checks a configuration by raising whatever comes
        raise BuildError(
            f"PEFT itself can't load the adapter in {folder}",
            context=f"{type(error).__name__}: {error}"[:500],
            hint=f"correct {ADAPTER_CONFIG}, or save the adapter again with PEFT's save_pretrained",
        ) from error
    return reference_logits(adapted, tokens)


def _require_close(got: Any, wanted: Any, tolerance: float, *, what: str) -> float:
    error = float(np.abs(got - wanted).max())
    allowed = tolerance * max(1.0, float(np.abs(wanted).max()))
    if not error <= allowed:
        raise ParityError(
            f"{what} does not compute what Transformers and PEFT do",
            context=f"largest difference of logits {error:.2e}, allowed {allowed:.2e}",
        )
    return error
