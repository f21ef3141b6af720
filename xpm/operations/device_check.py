"""Does a device compute what the CPU computes? The base here, alone and with experts, on a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.operations.answering import attach, installed_parts
from xpm.operations.devices import remember
from xpm.operations.parts import Part
from xpm.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NUM_EXPERTS, _NUM_DRAWN = 2, 16
_TEXT = (
    "The harbour was quiet before sunrise. A fisherman counted his nets, wrote the number in a small book, and looked "
    "at the sky: grey in the west, clear in the east. By noon the boats would be back, and the market would open. What "
    "would he sell first?"
)


def check_device(environment: Environment, device: str, *, progress: Progress) -> tuple[bool, str]:
    """(whether a device computes what the CPU does, what was found), for the base here and with
    experts; if so, it is remembered.

    Raises:
        ModelLoadError: this build of ONNX Runtime has no such device, or it can't be started.
    """
    base, experts = installed_parts(environment, progress=progress)
    experts = experts[:_NUM_EXPERTS]
    compositions = [(), *((each.name,) for each in experts)]
    wanted, ids = _logits(base, experts, compositions, "cpu")
    got, drawn = _logits(base, experts, compositions, device)
    from xpm_build.base.quality import MAX_KERNEL_LOSS, difference

    found = [difference(a[None], b[None]) for a, b in zip(wanted, got, strict=True)]
    worst = max(found, key=lambda each: each.loss)
    with_experts = f" and {len(experts)} experts" if experts else ""
    text = f"{base.label}{with_experts} beside the CPU: {worst}, {len(wanted[0])} tokens"
    if not worst.loss <= MAX_KERNEL_LOSS:
        return False, text
    if drawn != ids:
        text += "; greedy answers part"
    remember(environment.home, base, device)
    return True, text


def _logits(
    base: Part, experts: Sequence[Part], compositions: Sequence[tuple[str, ...]], device: str
) -> "tuple[list[NDArray[np.float32]], list[tuple[int, ...]]]":
    """(logits of the text for each composition, the greedy tokens behind it)."""
    from xpm_runtime import Engine, SamplingParams
    from xpm_runtime.text import TextCodec

    with Engine.load(base.folder, device=device, kernels="portable", max_lanes=1, context=512) as engine:
        attach(engine, experts)
        ids = TextCodec(base.folder).encode(_TEXT)
        sampling = SamplingParams(max_tokens=_NUM_DRAWN)
        logits = [engine.logits(ids, experts=names) for names in compositions]
        drawn = [engine.generate(ids, experts=names, sampling=sampling).token_ids for names in compositions]
        return logits, [tuple(each) for each in drawn]
