"""Running a prompt: choose the experts, translate them into the runtime's specs, generate.

The only seam between packages and the runtime.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.build import base_source
from xpm.operations.decoding import sampling_defaults
from xpm.operations.inspect import Installed, find_installed, installed
from xpm.operations.install import require_stored
from xpm.operations.local import Part, is_path, local_base, local_expert, source_of
from xpm.operations.options import Options
from xpm.progress import Progress
from xpm.project import DEFAULT_BASE
from xpm_index.requirements import Requirement

if TYPE_CHECKING:
    from xpm_runtime import Engine, GenerationResult

_NO_EXPERT = (
    f"no installed expert fits this prompt, and {DEFAULT_BASE} alone can't answer it; get a real base, e.g."
    " `xpm build base Qwen/Qwen3-0.6B --name qwen3-0-6b --variant int4`, and run with --base dist/qwen3-0-6b-int4.v0.1.0.base"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``experts`` None chooses by keywords, () runs the base. ``sampling`` overrides what the manifests say.

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
        base, experts = composition(environment, prompt, options, Path(scratch), progress=progress)
        from xpm_runtime import SamplingParams

        try:
            manifests = [each.manifest for each in experts if each.manifest]
            defaults = sampling_defaults(manifests, given=options.sampling)
            sampling = SamplingParams(**{**defaults, **options.sampling})
        except TypeError as error:
            raise UsageError(f"the sampling settings are not valid: {error}") from error
        with load_engine(base, options) as engine:
            attach_ms = attach(engine, experts)
            names = [each.name for each in experts]
            result = _drain(engine.stream(prompt, experts=names, sampling=sampling), show)
            label = f"{base.label}, {engine.graph.variant}"
            return Answer(result=result, attach_ms=attach_ms, device=engine.device, kernels=engine.kernels, base=label)


def composition(
    environment: Environment, prompt: str, options: RunOptions, scratch: Path, *, progress: Progress
) -> tuple[Part, list[Part]]:
    """(the base, the experts in the order in which they act): the lock's, then those named by paths, as named."""
    named = options.experts or ()
    paths = [text for text in named if is_path(text)]
    names = tuple(text for text in named if not is_path(text))
    if options.base:
        base = local_base(options.base, scratch, progress.note)
        experts = [_part(each) for each in choose(environment, prompt, names)] if names else []
    else:
        require_stored(environment, Options(progress=progress))
        base = _part(installed(environment)[0])
        chosen = choose(environment, prompt, names if options.experts is not None else None)
        if not chosen and options.experts is None and base.name == DEFAULT_BASE:
            progress.warn(_NO_EXPERT)
        experts = [_part(each) for each in chosen]

    def source() -> Path:
        return (
            source_of(options.base, scratch) if options.base else base_source(environment, base.name, progress=progress)
        )

    experts += [local_expert(text, scratch, source, progress.note) for text in paths]
    if twice := [name for name, count in Counter(each.name for each in experts).items() if count > 1]:
        raise UsageError(
            f"two experts are named {twice[0]}", hint="name each once; a folder without a manifest has its own name"
        )
    return base, experts


def _part(each: Installed) -> Part:
    package = each.package
    return Part(
        name=package.name,
        label=f"{package.name} {package.version}",
        folder=_folder(each),
        manifest=each.manifest(),
        digest=each.digest,
    )


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
    require_stored(environment, Options(progress=progress))
    base, *experts = installed(environment)
    return _part(base), [_part(each) for each in experts]


def choose(environment: Environment, prompt: str, names: tuple[str, ...] | None) -> list[Installed]:
    """The experts for a prompt, with what they require: the named ones, or the one whose keywords fit best."""
    experts = [each for each in installed(environment) if each.package.kind == "expert"]
    if names is None:
        return _with_required(_by_keywords(prompt, experts), experts)
    chosen: dict[str, Installed] = {}
    for name in names:
        each = find_installed(environment, name)
        if each.package.kind != "expert":
            raise UsageError(f"{name} is a base, not an expert")
        chosen.setdefault(each.package.name, each)
    return _with_required(list(chosen.values()), experts)


def _with_required(chosen: list[Installed], experts: Sequence[Installed]) -> list[Installed]:
    """The chosen experts and, transitively, those that they require, in the lock's order."""
    names = {each.package.name for each in chosen}
    for each in reversed(experts):  # what requires stands behind what is required
        if each.package.name in names:
            for text in each.package.requires:
                names |= set(Requirement.parse(text).name.spellings())
    return [each for each in experts if each.package.name in names]


def _by_keywords(prompt: str, experts: Sequence[Installed]) -> list[Installed]:
    """The expert with the most of its keywords in the prompt and no excluded one; ties go to priority, then to the name."""
    text = prompt.casefold()
    scored = []
    for each in experts:
        routing = each.manifest().routing
        matches = sum(occurs(keyword, text) for keyword in routing.keywords)
        if matches and not any(occurs(keyword, text) for keyword in routing.exclude_keywords):
            scored.append((-matches, -routing.priority, each.package.name, each))
    return [min(scored, key=lambda item: item[:3])[3]] if scored else []


def occurs(keyword: str, text: str) -> bool:
    """Whether a keyword stands in a case-folded text by itself: one word, several, or one with signs (``c++``, ``node.js``)."""
    words = keyword.casefold().split()
    if not words:
        return False
    ends_in_a_word = words[-1][-1].isalnum() or words[-1][-1] == "_"
    after = r"(?!\w)(?![-']\w)" if ends_in_a_word else ""
    return re.search(r"(?<!\w)(?<!\w[-'])" + r"\s+".join(map(re.escape, words)) + after, text) is not None


def _folder(each: Installed) -> Path:
    if each.folder is None:
        raise UsageError(f"{each.package.name} is not in the store", hint="run `xpm sync`")
    return each.folder


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
