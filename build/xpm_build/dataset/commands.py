"""What `xpm dataset` does, on the folder of an expert or on a file of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpm_build.dataset import generate as generating
from xpm_build.dataset.importing import import_rows
from xpm_build.dataset.providers import Usage
from xpm_build.dataset.quality import Problem, cleaned, draw_statistics, filter_of, statistics_of, validate_rows
from xpm_build.dataset.settings import MEANINGLESS, DatasetSettings, Generation, dataset_settings
from xpm_build.dataset.split import SplitReport, is_part, part_sizes, split_rows
from xpm_build.errors import UsageError
from xpm_build.judges import judge_of, measure_of
from xpm_build.judges.judging import has_check
from xpm_build.manifest_file import read_manifest
from xpm_build.rows import Row, completion_of, read_rows, read_sound_rows, replace_rows, write_rows

Report = Callable[[str], None]


def settings_of(folder: Path) -> DatasetSettings:
    """What the manifest in ``folder`` says of its data."""
    return dataset_settings(read_manifest(folder).raw)


def generate(
    folder: Path, *, overrides: Mapping[str, Any], concurrency: int, report: Report
) -> generating.GenerationReport:
    """Make the data that the manifest asks for; ``overrides`` replace its settings."""
    return generating.generate(
        _generation(folder, overrides),
        folder / settings_of(folder).path,
        concurrency=concurrency,
        url_is_confirmed="url" in overrides,
        report=report,
    )


def estimate(folder: Path, *, overrides: Mapping[str, Any]) -> Usage:
    """What generating is likely to cost; sends nothing."""
    return generating.estimate(_generation(folder, overrides))


def _generation(folder: Path, overrides: Mapping[str, Any]) -> Generation:
    """The manifest's settings but what a provider named instead of the manifest's has no use for."""
    raw = read_manifest(folder).raw
    training = dict(raw.get("training") or {})
    dataset = dict(training.get("dataset") or {})
    stated = dict(dataset.get("generation") or {})
    for key in MEANINGLESS.get(overrides.get("provider", ""), ()):
        stated.pop(key, None)
    dataset["generation"] = {**stated, **overrides}
    return dataset_settings({**raw, "training": {**training, "dataset": dataset}}).generation


def left_for_training(folder: Path) -> dict[str, int]:
    """How many rows of the data set `xpm dataset split` would put into each part, before it
    drops what is nearly equal."""
    settings = settings_of(folder)
    return part_sizes(read_rows(folder / settings.path), settings.split)


def import_data(
    folder: Path, sources: Sequence[str], *, form: str, mapping: Mapping[str, str], append: bool, report: Report
) -> int:
    """Bring rows into the expert's data set; how many there are now. The manifest's own sources
    are looked for beside it."""
    settings = settings_of(folder)
    chosen = list(sources) or [
        str(folder / each) if (folder / each.split("::")[0]).exists() else each for each in settings.sources
    ]
    if not chosen:
        raise UsageError("no source is named", hint="name a file, or set training.dataset.sources in the manifest")
    path = folder / settings.path
    rows: list[Row] = list(read_rows(path)) if append and path.is_file() else []
    for source in chosen:
        rows += import_rows(source, form=form or settings.form, mapping=mapping or settings.field_mapping)
    return write_rows(path, rows) if append else replace_rows(path, rows, report)


def data_file(target: Path) -> Path:
    """The data set that a command is about: the file itself, or that of an expert's folder."""
    return target if target.is_file() else target / settings_of(target).path


def validate_data(target: Path, *, language: str, execute: bool, report: Report) -> tuple[int, list[Problem]]:
    """(how many rows there are, what is wrong with them). ``execute`` also runs the answers
    with the language's judge."""
    rows = list(read_rows(data_file(target)))
    chosen = language or (settings_of(target).language if target.is_dir() else "")
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


def _execute(rows: Sequence[tuple[int, Row]], language: str, count: int, report: Report) -> list[Problem]:
    """Run the answers of numbered rows that have a check; what fails it. Says how many of
    ``count`` rows were not run."""
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
    rows = list(read_sound_rows(data_file(target)))
    chosen = threshold if threshold is not None else settings_of(target).near_duplicates if target.is_dir() else 0.0
    left, dropped = cleaned(rows, near=chosen)
    return write_rows(data_file(target), left), dropped["equal"], dropped["nearly equal"]


def statistics(target: Path, *, base: Path | None, png: Path | None) -> dict[str, Any]:
    """Sizes, categories and diversity; lengths in a base's tokens if its folder is given."""
    rows = list(read_sound_rows(data_file(target)))
    count_tokens = None
    if base:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        count_tokens = lambda text: len(tokenizer.encode(text).ids)  # noqa: E731
    stats = statistics_of(rows, count_tokens)
    if png:
        draw_statistics(stats, png)
    stats.pop("lengths")
    return stats


def filter_data(target: Path, conditions: Sequence[str], *, out: Path | None) -> tuple[int, int]:
    """Keep the rows that meet all conditions: (kept, dropped)."""
    rows = list(read_rows(data_file(target)))
    left = list(filter(filter_of(conditions), rows))
    if not left:
        raise UsageError("no row meets the conditions", hint="nothing was changed")
    return write_rows(out or data_file(target), left), len(rows) - len(left)


def split(folder: Path) -> SplitReport:
    """Part the data as the manifest says."""
    settings = settings_of(folder)
    if is_part(settings.path):
        raise UsageError(
            f"training.dataset.path is {settings.path}, which the split would overwrite",
            hint="give the whole data set another name, e.g. data/dataset.jsonl",
        )
    path = folder / settings.path
    rows, dropped = cleaned(
        list(read_sound_rows(path)), near=settings.near_duplicates, max_characters=settings.max_characters
    )
    report = split_rows(rows, settings.split, path.parent)
    return replace(report, dropped=dropped | report.dropped)
