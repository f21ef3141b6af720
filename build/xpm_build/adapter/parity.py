"""Does a compiled expert compute what PEFT computes? Every build asks before it writes an archive."""

import math
import tempfile
from pathlib import Path
from typing import Any

from peft import PeftModel

from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.adapter.methods import invocation_of
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, read_config
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import load_model, probe_tokens, reference_logits, require_close
from xpm_build.errors import BuildError
from xpm_runtime import AdapterSpec, Engine
from xpm_runtime.adapter import SLOTS

# Largest absolute difference of logits on a float32 base, as a share of the largest logit, by how the
# expert's numbers are stored.
STORAGE_TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "int8": 5e-2}


def check_adapter(
    base: Path, source: Path, peft_folders: list[Path], slots: Path, *, storage: str, truncation: float
) -> float:
    """Compare a compiled expert on the float32 graph in ``base`` with PEFT; return the largest absolute difference.

    PEFT can't have adapters of different methods act together, so several are each compared with PEFT, and the expert
    with a composition of them.

    Args:
        source: the base's Hugging Face folder.
        truncation: the share of an update that had to be cut; the difference is then reported, not judged.
    Raises:
        ParityError: they differ.
    """
    allowed = math.inf if truncation else STORAGE_TOLERANCE[storage]
    with Engine.load(base, device="cpu", threads=1, max_lanes=1, context=512) as engine:
        tokens = _with_invocations(probe_tokens(engine.graph.vocab_size), peft_folders)
        engine.attach(AdapterSpec.read("expert", slots))
        got = engine.logits(tokens, experts=["expert"])
        if len(peft_folders) == 1:
            return require_close(
                got, _peft_logits(source, peft_folders[0], tokens), allowed, what="the compiled adapter"
            )
        names, errors = [], []
        for number, folder in enumerate(peft_folders):
            with tempfile.TemporaryDirectory(prefix="xpm-slots-") as scratch:
                one = Path(scratch) / SLOTS
                adapter = compile_adapter(folder, adaptable(load_model(source)))
                save_slots(adapter, one, base_digest=engine.graph.base_digest)
                names.append(f"adapter-{number}")
                engine.attach(AdapterSpec.read(names[-1], one, load_order=number + 1))
            wanted = _peft_logits(source, folder, tokens)
            alone = engine.logits(tokens, experts=names[-1:])
            errors.append(
                require_close(
                    alone,
                    wanted,
                    math.inf if truncation else STORAGE_TOLERANCE["float32"],
                    what=f"adapter {folder.name}",
                )
            )
        together = engine.logits(tokens, experts=names)
        return max(*errors, require_close(got, together, allowed, what="the expert of several adapters"))


def _with_invocations(tokens: list[int], folders: list[Path]) -> list[int]:
    """With what invokes the adapters in the middle: without it an activated LoRA would not act."""
    half = len(tokens) // 2
    found = dict.fromkeys(invocation_of(read_config(folder)) for folder in folders)
    return [*tokens[:half], *(token for invocation in found for token in invocation), *tokens[half:]]


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
