"""Which base and which experts answer a prompt, and in what order the experts act."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.lockfile import Lockfile
from xpm.operations.install import require_stored
from xpm.operations.installed import Installed, find_in, packages_of
from xpm.operations.local import compile_for_model, is_path, is_written, local_base, local_expert, source_of
from xpm.operations.model_folder import base_source
from xpm.operations.options import Options
from xpm.operations.parts import Part, part_of
from xpm.progress import Progress
from xpm.project import DEFAULT_BASE

_NO_EXPERT = (
    f"no installed expert fits this prompt, and {DEFAULT_BASE} alone can't answer it; get a real base, e.g."
    " `xpm build base Qwen/Qwen3-0.6B --name qwen3-0-6b --variant int4`, and run with --base dist/qwen3-0-6b-int4.v0.1.0.base"
)


def composition(
    environment: Environment,
    prompt: str,
    *,
    base: str,
    experts: tuple[str, ...] | None,
    scratch: Path,
    progress: Progress,
) -> tuple[Part, list[Part]]:
    """(the base, the experts in the order in which they act): the lock's, then those named by paths, as named.

    Args:
        base: its path, "" for the environment's.
        experts: their names and paths; None chooses by keywords.
        scratch: a folder for what has to be unpacked or compiled.
    """
    paths = [text for text in experts or () if is_path(text)]
    names = None if experts is None else tuple(text for text in experts if not is_path(text))
    lock: Lockfile | None = None
    if base:
        part = local_base(base, scratch, progress.note)
        chosen = choose(packages_of(environment, environment.lockfile()), prompt, names) if names else []
    else:
        lock = require_stored(environment, Options(progress=progress))
        packages = packages_of(environment, lock)
        part = part_of(packages[0])
        chosen = choose(packages, prompt, names)
        if not chosen and names is None and part.name == DEFAULT_BASE:
            progress.warn(_NO_EXPERT)

    def compile_adapter(folder: Path, out: Path) -> None:
        if lock is not None and is_written(part.folder):
            _compile_for(environment, lock, folder, out, progress)
            return
        source = source_of(base, scratch) if base else base_source(environment, part.name, progress=progress)
        compile_for_model(folder, out, source)

    chosen += [local_expert(text, scratch, compile_adapter, progress.note) for text in paths]
    if twice := [name for name, count in Counter(each.name for each in chosen).items() if count > 1]:
        raise UsageError(
            f"two experts are named {twice[0]}", hint="name each once; a folder without a manifest has its own name"
        )
    return part, chosen


def _compile_for(environment: Environment, lock: Lockfile, folder: Path, out: Path, progress: Progress) -> None:
    """Compile what PEFT saved for the installed base."""
    from xpm.operations.adapters import Target, compile_for_run

    options = Options(progress=progress)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        compile_for_run(Target.of(environment, lock, indexes, options), folder, out)


def choose(packages: Sequence[Installed], prompt: str, names: tuple[str, ...] | None) -> list[Part]:
    """The experts for a prompt, with what they require, in the lock's order: the named ones, or the one whose keywords fit best."""
    experts = [each for each in packages if each.package.kind == "expert"]
    known: dict[str, Part] = {}
    if names is None:
        known = {each.package.name: part_of(each) for each in experts}
        chosen = _by_keywords(prompt, list(known.values()))
    else:
        found = [find_in(packages, name).package for name in names]
        if bases := [each.name for each in found if each.kind != "expert"]:
            raise UsageError(f"{bases[0]} is a base, not an expert")
        chosen = {each.name for each in found}
    for each in reversed(experts):  # what requires stands behind what is required
        if each.package.name in chosen:
            chosen.update(spelled for required in each.package.requires for spelled in required.name.spellings())
    return [known.get(each.package.name) or part_of(each) for each in experts if each.package.name in chosen]


def _by_keywords(prompt: str, experts: Sequence[Part]) -> set[str]:
    """The expert with the most of its keywords in the prompt and no excluded one; ties go to priority, then to the name."""
    text = prompt.casefold()
    scored = []
    for each in experts:
        if each.manifest is None:
            continue
        routing = each.manifest.routing
        matches = sum(occurs(keyword, text) for keyword in routing.keywords)
        if matches and not any(occurs(keyword, text) for keyword in routing.exclude_keywords):
            scored.append((-matches, -routing.priority, each.name))
    return {min(scored)[2]} if scored else set()


def occurs(keyword: str, text: str) -> bool:
    """Whether a keyword stands in a case-folded text by itself: one word, several, or one with signs (``c++``, ``node.js``)."""
    words = keyword.casefold().split()
    if not words:
        return False
    ends_in_a_word = words[-1][-1].isalnum() or words[-1][-1] == "_"
    after = r"(?!\w)(?![-']\w)" if ends_in_a_word else ""
    return re.search(r"(?<!\w)(?<!\w[-'])" + r"\s+".join(map(re.escape, words)) + after, text) is not None
