"""Making experts: data, training, judging. Finds the base, then leaves the work to ``xpm_build`` (the ``build`` extra)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations.build import base_source, require_extra
from xpm.operations.inspect import search
from xpm.operations.options import Options
from xpm.progress import Progress
from xpm.search import Query
from xpm_index.archive import MANIFEST
from xpm_index.errors import XpmError
from xpm_index.manifest import Manifest

if TYPE_CHECKING:
    from xpm_build.dataset.generate import GenerationReport
    from xpm_build.dataset.providers import Usage
    from xpm_build.dataset.quality import Problem
    from xpm_build.dataset.settings import DatasetSettings
    from xpm_build.dataset.split import SplitReport
    from xpm_build.evaluation.findings import Validation
    from xpm_build.evaluation.report import Block
    from xpm_build.evaluation.validate import ValidationOptions
    from xpm_build.manifest_check import Finding
    from xpm_build.training.report import TrainingReport

Report = Callable[[str], None]
Row = dict[str, Any]


def check(environment: Environment, folder: Path) -> "list[Finding]":
    """Everything that is wrong with an expert's folder; needs nothing of the build extra."""
    from xpm_build.check import check as find

    return find(folder, bases=_known_bases(environment))


def _known_bases(environment: Environment) -> list[str]:
    """The bases that the indexes here have, as they were fetched; none if they can't be read."""
    try:
        return [each.name for each in search(environment, Query(kind="base", limit=10_000), Options(offline=True))]
    except XpmError:
        return []


def settings(folder: Path) -> "DatasetSettings":
    """What the manifest in ``folder`` says of its data."""
    require_extra()
    from xpm_build.dataset.settings import dataset_settings

    return dataset_settings(_manifest(folder).raw)


def generate(
    home: Home, folder: Path, *, overrides: Mapping[str, Any], concurrency: int, report: Report
) -> "GenerationReport":
    """Make the data that the manifest asks for; ``overrides`` replace its settings."""
    known = settings(folder)
    from xpm_build.dataset.generate import generate as make

    with home.alone_in(folder):
        return make(
            _generation(folder, overrides),
            folder / known.path,
            concurrency=concurrency,
            url_is_confirmed="url" in overrides,
            report=report,
        )


def left_for_training(folder: Path) -> dict[str, int]:
    """How many rows of the data set `xpm dataset split` would put into each part, before it drops what is nearly equal."""
    known = settings(folder)
    from xpm_build.dataset.split import part_sizes
    from xpm_build.rows import read_rows

    return part_sizes(read_rows(folder / known.path), known.split)


def estimate(folder: Path, *, overrides: Mapping[str, Any]) -> "Usage":
    """What generating is likely to cost; sends nothing."""
    require_extra()
    from xpm_build.dataset.generate import estimate as guess

    return guess(_generation(folder, overrides))


def _generation(folder: Path, overrides: Mapping[str, Any]) -> Any:
    """The manifest's settings but what a provider named instead of the manifest's has no use for."""
    from xpm_build.dataset.settings import MEANINGLESS, dataset_settings

    raw = _manifest(folder).raw
    training = dict(raw.get("training") or {})
    dataset = dict(training.get("dataset") or {})
    stated = dict(dataset.get("generation") or {})
    for key in MEANINGLESS.get(overrides.get("provider", ""), ()):
        stated.pop(key, None)
    dataset["generation"] = {**stated, **overrides}
    return dataset_settings({**raw, "training": {**training, "dataset": dataset}}).generation


def import_data(
    folder: Path, sources: Sequence[str], *, form: str, mapping: Mapping[str, str], append: bool, report: Report
) -> int:
    """Bring rows into the expert's data set; how many there are now. The manifest's own sources are looked for beside it."""
    known = settings(folder)
    from xpm_build.dataset.importing import import_rows
    from xpm_build.rows import read_rows, replace_rows, write_rows

    chosen = list(sources) or [
        str(folder / each) if (folder / each.split("::")[0]).exists() else each for each in known.sources
    ]
    if not chosen:
        raise UsageError("no source is named", hint="name a file, or set training.dataset.sources in the manifest")
    path = folder / known.path
    rows: list[Row] = list(read_rows(path)) if append and path.is_file() else []
    for source in chosen:
        rows += import_rows(source, form=form or known.form, mapping=mapping or known.field_mapping)
    return write_rows(path, rows) if append else replace_rows(path, rows, report)


def data_file(target: Path) -> Path:
    """The data set that a command is about: the file itself, or that of an expert's folder."""
    return target if target.is_file() else target / settings(target).path


def data_rows(target: Path) -> list[Row]:
    """The rows as they are, malformed ones too."""
    require_extra()
    from xpm_build.rows import read_rows

    return list(read_rows(data_file(target)))


def _sound_rows(target: Path) -> list[Row]:
    require_extra()
    from xpm_build.rows import read_sound_rows

    return list(read_sound_rows(data_file(target)))


def validate_data(target: Path, *, language: str, execute: bool, report: Report) -> "tuple[int, list[Problem]]":
    """(how many rows there are, what is wrong with them). ``execute`` also runs the answers with the language's judge."""
    rows = data_rows(target)
    from xpm_build.dataset.quality import validate_rows

    chosen = language or (settings(target).language if target.is_dir() else "")
    if execute and not chosen:
        raise UsageError("what language the answers are in is not known", hint="give --language")
    problems = validate_rows(rows, chosen)
    if chosen in ("", "text"):
        report("the rows' form alone was looked at, not the syntax of their answers")
    if execute:
        bad = {problem.row for problem in problems}
        sound = [(number, row) for number, row in enumerate(rows, start=1) if number not in bad]
        problems += _execute(sound, chosen, len(rows), report)
    return len(rows), problems


def _execute(rows: Sequence[tuple[int, Row]], language: str, count: int, report: Report) -> "list[Problem]":
    """Run the answers of numbered rows that have a check; what fails it. Says how many of ``count`` rows were not run."""
    from xpm_build.dataset.quality import Problem
    from xpm_build.judges import judge_of, measure_of
    from xpm_build.judges.judging import has_check
    from xpm_build.rows import completion_of

    measure = measure_of(language)
    if measure != "execution accuracy":
        report(f"no answer was run: those in {language} are judged by {measure}")
        return []
    checked = [(number, row) for number, row in rows if has_check(row)]
    report(f"running {len(checked)} answers")
    if len(checked) < count:
        report(f"{count - len(checked)} of {count} rows were not run: they have a problem, or no check")
    verdicts = judge_of(language)([row for _, row in checked], [completion_of(row) for _, row in checked])
    return [
        Problem(row=number, reason=f"the answer fails its own check: {verdict.reason}")
        for (number, _), verdict in zip(checked, verdicts, strict=True)
        if not verdict.right
    ]


def deduplicate(target: Path, *, threshold: float | None) -> tuple[int, int, int]:
    """Drop what is there twice or nearly so; (rows left, exact, near). Without a threshold, the manifest's."""
    rows = _sound_rows(target)
    from xpm_build.dataset.quality import cleaned
    from xpm_build.rows import write_rows

    chosen = threshold if threshold is not None else settings(target).near_duplicates if target.is_dir() else 0.0
    kept, dropped = cleaned(rows, near=chosen)
    return write_rows(data_file(target), kept), dropped["equal"], dropped["nearly equal"]


def statistics(
    environment: Environment, target: Path, *, base: str, png: Path | None, progress: Progress
) -> dict[str, Any]:
    """Sizes, categories and diversity; lengths in a base's tokens if one is named."""
    rows = _sound_rows(target)
    from xpm_build.dataset.quality import draw_statistics, statistics_of

    count = None
    if base:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(find_base(environment, base, progress=progress) / "tokenizer.json"))
        count = lambda text: len(tokenizer.encode(text).ids)  # noqa: E731
    stats = statistics_of(rows, count)
    if png:
        draw_statistics(stats, png)
    stats.pop("lengths")
    return stats


def filter_data(target: Path, conditions: Sequence[str], *, out: Path | None) -> tuple[int, int]:
    """Keep the rows that meet all conditions: (kept, dropped)."""
    rows = data_rows(target)
    from xpm_build.dataset.quality import filter_of
    from xpm_build.rows import write_rows

    meets = filter_of(conditions)
    kept = [row for row in rows if meets(row)]
    if not kept:
        raise UsageError("no row meets the conditions", hint="nothing was changed")
    return write_rows(out or data_file(target), kept), len(rows) - len(kept)


def split(folder: Path) -> "SplitReport":
    """Part the data as the manifest says."""
    known = settings(folder)
    from xpm_build.dataset.quality import cleaned
    from xpm_build.dataset.split import is_part, split_rows

    if is_part(known.path):
        raise UsageError(
            f"training.dataset.path is {known.path}, which the split would overwrite",
            hint="give the whole data set another name, e.g. data/dataset.jsonl",
        )
    rows, dropped = cleaned(_sound_rows(folder), near=known.near_duplicates, max_characters=known.max_characters)
    report = split_rows(rows, known.split, (folder / known.path).parent)
    return replace(report, dropped=dropped | report.dropped)


def train(
    environment: Environment, folder: Path, *, base: str, restart: bool, progress: Progress, report: Report
) -> "TrainingReport":
    """Train the expert in ``folder``."""
    require_extra()
    from xpm_build.training.run import train as run

    with environment.home.alone_in(folder):
        return run(folder, expert_base(environment, folder, base, progress=progress), restart=restart, report=report)


def validate(
    environment: Environment,
    folder: Path,
    *,
    base: str,
    options: "ValidationOptions",
    progress: Progress,
    report: Report,
) -> "Validation":
    """Judge the expert in ``folder``."""
    require_extra()
    from xpm_build.evaluation.validate import validate as judge

    with environment.home.alone_in(folder):
        return judge(folder, expert_base(environment, folder, base, progress=progress), options, report=report)


def compare(first: Path, second: Path, *, out: Path | None) -> "tuple[dict[str, Any], list[Block]]":
    """Two validated experts beside each other, also written to ``out`` (.md or .html) with a picture beside it."""
    require_extra()
    from xpm_build.evaluation.compare import compare_experts, write_comparison

    document, blocks = compare_experts(first, second)
    if out:
        write_comparison(document, blocks, out)
    return document, blocks


def expert_base(environment: Environment, folder: Path, base: str, *, progress: Progress) -> Path:
    """The Hugging Face folder of the base to use: the one named, or the manifest's."""
    return find_base(environment, base or _manifest(folder).bases[0].name, progress=progress)


def find_base(environment: Environment, base: str, *, progress: Progress) -> Path:
    return Path(base) if Path(base).is_dir() else base_source(environment, base, progress=progress)


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} has no {MANIFEST}", hint="start with `xpm new expert NAME`")
    return Manifest.parse(path.read_bytes())


def dumped(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)
