"""Whether the grammar that an expert ships compiles, and how many of the answers that it learns from fit it."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import TRAIN
from xpm_build.errors import BuildError
from xpm_build.rows import completion_of, read_rows
from xpm_index.manifest import Manifest
from xpm_runtime.constraint import fitting
from xpm_runtime.errors import ConstraintError
from xpm_runtime.grammars import SHIPPED, stated_grammar

_MOST_ANSWERS = 2_000


def check_grammar(folder: Path, manifest: Manifest, report: Callable[[str], None]) -> None:
    """Compile what the package asks for or ships, and report the share of its training answers that fit.

    Raises:
        BuildError: it is not there, or does not compile.
    """
    is_shipped = bool(manifest.decoding.get("grammar_file")) or (folder / SHIPPED).is_file()
    stated = manifest.decoding if not is_shipped else {**manifest.decoding, "use_grammar": True}
    try:
        grammar = stated_grammar(stated, folder)
        if grammar is None:
            return
        answers = list(islice(_answers(folder, manifest), _MOST_ANSWERS))
        fits = list(fitting(grammar, answers))
    except ConstraintError as error:
        raise BuildError(f"the expert's grammar: {error.message}", context=error.context, hint=error.hint) from error
    if not answers:
        report("the grammar compiles; there are no training answers to try it on")
        return
    report(f"the grammar fits {sum(fits) / len(fits):.1%} of {len(fits):,} training answers")
    if not all(fits):
        report(f"one that it does not fit: {answers[fits.index(False)][:200]}")


def _answers(folder: Path, manifest: Manifest) -> Iterator[str]:
    settings = dataset_settings(manifest.raw)
    files = [Path(task.train) for task in settings.tasks] or [settings.path.parent / TRAIN]
    for file in files:
        if (folder / file).is_file():
            yield from map(completion_of, read_rows(folder / file))
