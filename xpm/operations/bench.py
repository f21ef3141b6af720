"""Benchmarks: finds what to measure, then leaves the work to ``xpm_build.bench`` (the ``build`` extra)."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.operations.answering import Interruption, never
from xpm.operations.choice import Candidates
from xpm.operations.extras import require_extra
from xpm.operations.installed import installed
from xpm.operations.local import is_path
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_build.bench.context.run import ContextOptions, Results


def speed(
    work: Path,
    out: Path,
    *,
    shape: str,
    model: Path | None,
    rounds: int,
    prompt_tokens: int,
    decode_tokens: int,
    peers: Sequence[str],
    threads: int | None,
    report: Callable[[str], None],
) -> list[Path]:
    """Measure the engine beside the named programs (all that are installed if none is named); the files written.

    Args:
        work: where models are kept between runs.
        model: a GGUF file, which every program reads; None for random weights of a shape.
    """
    require_extra()
    from xpm_build.bench.material import make_material, real_material
    from xpm_build.bench.report import write_report
    from xpm_build.bench.speed import available_peers, run_speed

    known = available_peers()
    if missing := [peer for peer in peers if peer not in known]:
        raise UsageError(f"{missing[0]} is not installed", hint="pip install 'xpm-experts[bench]'")
    chosen = list(peers) or known
    if model is None:
        material = make_material(work, shape=shape, peers=chosen, report=report)
    else:
        material = real_material(work, model, peers=chosen, report=report)
    results = run_speed(
        material,
        rounds=rounds,
        prompt_tokens=prompt_tokens,
        decode_tokens=decode_tokens,
        peers=chosen,
        threads=threads or os.cpu_count() or 1,
        report=report,
    )
    return write_report(results, out)


def memory(environment: Environment, *, folder: Path | None, tokens: int) -> dict[str, Any]:
    """The formula's figures and the system's, for an exported base or for what is installed here; bytes."""
    require_extra()
    from xpm_build.bench.memory import run_memory

    slots: list[Path] = []
    if folder is None:
        base, *rest = [each for each in installed(environment) if each.folder is not None]
        assert base.folder is not None
        folder = base.folder
        slots = [each.folder / "slots.safetensors" for each in rest if each.folder is not None]
    return run_memory(folder, tokens=tokens, adapters=slots)


def context(
    environment: Environment,
    base: str,
    options: "ContextOptions",
    *,
    progress: Progress,
    report: Callable[[str], None],
    interruption: Interruption = never,
) -> "Results":
    """How a base does with long prompts, by their length; what was measured before an interruption if there is one.

    Args:
        base: a path (a ``.base`` file, an exported base, a model), the name of the base here, or "" for it.
    Raises:
        NotFoundError: the base here has another name. UsageError: see ``run_context``.
    """
    from xpm_build.bench.context.run import run_context

    path = base if is_path(base) or Path(base).is_dir() else ""
    with tempfile.TemporaryDirectory(prefix="xpm-bench-") as scratch:
        found = Candidates(environment, base=path, scratch=Path(scratch), progress=progress).base
        if base and not path and base != found.name:
            raise NotFoundError(
                f"the base here is {found.name}, not {base}", hint=f"name a path, or run `xpm base add {base}` first"
            )
        with interruption() as stopped:
            return run_context(found.folder, found.label, options, report=report, stopped=stopped)
