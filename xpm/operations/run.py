"""Running a prompt: hand the chosen base and experts to the runtime, generate.

The only seam between packages and the runtime.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.operations.choice import composition
from xpm.operations.decoding import sampling_params, task_defaults
from xpm.operations.devices import require_checked
from xpm.operations.grammars import stated_by
from xpm.operations.install import require_stored
from xpm.operations.installed import packages_of
from xpm.operations.options import Options
from xpm.operations.parts import Part, part_of
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_runtime import Engine, GenerationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``experts`` None lets the router choose, () runs the base. ``sampling`` overrides what the manifests say; a ``grammar``
    of None in it does too.

    ``base`` and ``experts`` may be paths (``xpm.operations.local``); ``base`` "" is the environment's. ``context`` is in tokens.
    """

    experts: tuple[str, ...] | None = None
    sampling: Mapping[str, Any]
    base: str = ""
    device: str = "auto"
    threads: int | None = None
    memory: int | None = None
    kernels: str = "auto"
    context: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    result: "GenerationResult"
    attach_ms: float
    device: str
    kernels: str
    base: str


def run(
    environment: Environment, prompt: str, options: RunOptions, *, progress: Progress, show: Callable[[str], None]
) -> Answer:
    """Answer one prompt; ``show`` gets the text piece by piece."""
    with tempfile.TemporaryDirectory(prefix="xpm-run-") as scratch:
        chosen = composition(
            environment, prompt, base=options.base, experts=options.experts, scratch=Path(scratch), progress=progress
        )
        base, experts = chosen.base, chosen.experts
        given = (
            options.sampling
            if "grammar" in options.sampling
            else {**options.sampling, "grammar": stated_by(experts, prompt)}
        )
        manifests = [each.manifest for each in experts if each.manifest]
        defaults = task_defaults(chosen.decision.task, prompt) if chosen.decision else {}
        sampling = sampling_params(manifests, given, defaults=defaults)
        require_checked(environment.home, base, options.device)
        with load_engine(base, options) as engine:
            attach_ms = attach(engine, experts)
            names = [each.name for each in experts]
            result = _drain(engine.stream(prompt, experts=names, sampling=sampling), show)
            label = f"{base.label}, {engine.graph.variant}"
            return Answer(result=result, attach_ms=attach_ms, device=engine.device, kernels=engine.kernels, base=label)


def load_engine(base: Part, options: RunOptions, *, max_lanes: int = 1) -> "Engine":
    from xpm_runtime import Engine

    return Engine.load(
        base.folder,
        device=options.device,
        threads=options.threads,
        max_lanes=max_lanes,
        memory=options.memory,
        kernels=options.kernels,
        context=options.context,
    )


def attach(engine: "Engine", experts: Sequence[Part]) -> float:
    """Attach experts under their names, to act in the order in which they are given; milliseconds in all."""
    from xpm_runtime import AdapterSpec

    specs = [
        AdapterSpec.read(each.name, each.folder, load_order=position, digest=each.digest)
        for position, each in enumerate(experts, start=1)
    ]
    return sum(engine.attach(spec).attach_ms for spec in specs)


def installed_parts(environment: Environment, *, progress: Progress) -> tuple[Part, list[Part]]:
    """(the base, all experts in the lock's order) of an environment, fetched if need be."""
    base, *experts = map(part_of, packages_of(environment, require_stored(environment, Options(progress=progress))))
    return base, experts


def _drain(stream: "Iterator[str | GenerationResult]", show: Callable[[str], None]) -> "GenerationResult":
    for piece in stream:
        if isinstance(piece, str):
            show(piece)
        elif piece.error:
            from xpm_runtime import RequestError

            raise RequestError(f"the answer broke off after {len(piece.token_ids)} tokens", context=piece.error)
        else:
            return piece
    raise AssertionError("a stream ends with its result")
