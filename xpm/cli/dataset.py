"""dataset generate, import, validate, dedup, stats, split, filter, preview."""

import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.operations.expert import generate
from xpm.operations.extras import require_extra
from xpm.operations.model_folder import model_folder
from xpm_build.dataset import commands
from xpm_build.judges.languages import LANGUAGES
from xpm_build.rows import MAPPED_KEYS, read_rows
from xpm_index.errors import XpmError

_folder = click.argument(
    "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path(), required=False
)
_target = click.argument("target", type=click.Path(path_type=Path, exists=True), default=Path(), required=False)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_SHOWN_PROBLEMS = 20


class DataProblems(XpmError):
    code = "invalid-data"
    exit_code = 10


class _DataCommand(click.Command):
    """A command that needs the build extra, but for its help."""

    def invoke(self, ctx: click.Context) -> Any:
        require_extra()
        return super().invoke(ctx)


class _DataGroup(click.Group):
    command_class = _DataCommand


@click.group("dataset", cls=_DataGroup)
def dataset_command() -> None:
    """Make and look after the data of an expert (needs the build extra).

    FOLDER is an expert's folder, the present one by default; TARGET may also be a JSON-lines file.
    """


@dataset_command.command("generate")
@_folder
@click.option(
    "--provider",
    type=click.Choice(["template", "openai", "anthropic"]),
    help="Who makes the rows, instead of who the manifest says.",
)
@click.option("--count", type=click.IntRange(1), help="How many rows to make, instead of the manifest's number.")
@click.option("--seed", type=int, help="Instead of the manifest's.")
@click.option("--model", help="The provider's model.")
@click.option("--url", help="Another server that speaks the provider's protocol; it gets your key.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests under way at a time."
)
@click.option("--dry-run", is_flag=True, help="Estimate requests, tokens and cost; send nothing.")
@_json
@click.pass_obj
def generate_command(
    console: Console,
    folder: Path,
    provider: str | None,
    count: int | None,
    seed: int | None,
    model: str | None,
    url: str | None,
    concurrency: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make rows as training.dataset.generation says; an interrupted run goes on where it was.

    Example: xpm dataset generate --provider template --count 10000
    """
    given = {"provider": provider, "count": count, "seed": seed, "model": model, "url": url}
    overrides = {key: value for key, value in given.items() if value is not None}
    if dry_run:
        document: dict[str, Any] = {"dry_run": True, "usage": commands.estimate(folder, overrides=overrides).to_dict()}
    else:
        document = generate(
            here().home, folder, overrides=overrides, concurrency=concurrency, report=console.say
        ).to_dict()
    if as_json:
        console.json(document)
        return
    if not dry_run:
        _say_what_is_left(console, commands.left_for_training(folder))
    usage = document.pop("usage")
    console.card(
        {**document, **usage, "dollars": "not known" if usage["dollars"] is None else f"{usage['dollars']:.4f}"}
    )


def _say_what_is_left(console: Console, parts: dict[str, int]) -> None:
    """A data set is larger than what is learned from: the rest is held back, to judge by."""
    train = parts.pop("train.jsonl")
    held = ", ".join(f"{count:,} to {name.removesuffix('.jsonl')}" for name, count in parts.items())
    summary = (
        f"of {train + sum(parts.values()):,} different rows, `xpm dataset split` leaves {train:,} to train on ({held})"
    )
    if train:
        console.say(summary)
    else:
        console.warn(f"{summary}: make more, or hold less back in training.dataset.split")


@dataset_command.command("import")
@click.argument("sources", nargs=-1)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The expert's folder; the present one by default.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "parquet", "huggingface"]),
    help="By default what the name says.",
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="KEY=FIELD",
    help="Where prompt, input, completion, messages, family, group … are.",
)
@click.option("--append", is_flag=True, help="Keep the rows that are there.")
@_json
@click.pass_obj
def import_command(
    console: Console,
    sources: tuple[str, ...],
    folder: Path,
    form: str | None,
    mapping: tuple[str, ...],
    append: bool,
    as_json: bool,
) -> None:
    """Bring in JSON lines, CSV, Parquet, or a Hugging Face data set (a folder, or OWNER/NAME::split::config).

    Example: xpm dataset import questions.csv --map prompt=question --map completion=query
    """
    fields = {}
    for text in mapping:
        key, equals, field = text.partition("=")
        if not equals or key not in MAPPED_KEYS:
            raise UsageError(f"--map {text!r} is not KEY=FIELD", hint=f"KEY is one of {', '.join(MAPPED_KEYS)}")
        fields[key] = field
    count = commands.import_data(folder, sources, form=form or "", mapping=fields, append=append, report=console.say)
    if as_json:
        console.json({"rows": count})
    else:
        console.say(f"{count} rows; look at them with `xpm dataset preview`")


@dataset_command.command("validate")
@_target
@click.option(
    "--language", type=click.Choice(list(LANGUAGES)), help="By default the manifest's; text for the form alone."
)
@click.option("--execute", is_flag=True, help="Also run every answer against its own check, in a sandbox.")
@_json
@click.pass_obj
def validate_data_command(console: Console, target: Path, language: str | None, execute: bool, as_json: bool) -> None:
    """Look for rows that are malformed or whose answer does not parse.

    Example: xpm dataset validate --execute
    """
    count, problems = commands.validate_data(target, language=language or "", execute=execute, report=console.say)
    if as_json:
        console.json({"rows": count, "problems": [{"row": each.row, "reason": each.reason} for each in problems]})
    if problems:
        shown = "\n".join(f"row {each.row}: {each.reason}" for each in problems[:_SHOWN_PROBLEMS])
        raise DataProblems(
            f"{len(problems)} of {count} rows have a problem", context=shown, hint="correct or drop them"
        )
    if not as_json:
        console.say(f"{count} rows, none with a problem")


@dataset_command.command("dedup")
@_target
@click.option("--threshold", type=click.FloatRange(0, 1), help="How alike counts as the same; 0 for equal rows alone.")
@_json
@click.pass_obj
def dedup_command(console: Console, target: Path, threshold: float | None, as_json: bool) -> None:
    """Drop rows that are there twice, and those nearly like an earlier one (MinHash over letters).

    Example: xpm dataset dedup --threshold 0.9
    """
    left, exact, near = commands.deduplicate(target, threshold=threshold)
    if as_json:
        console.json({"rows": left, "exact_duplicates": exact, "near_duplicates": near})
    else:
        console.say(f"{left} rows left; dropped {exact} that were there twice and {near} nearly so")


@dataset_command.command("stats")
@_target
@click.option("--base", default="", help="Count lengths in this base's tokens.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Also draw them.")
@_json
@click.pass_obj
def stats_command(console: Console, target: Path, base: str, png: Path | None, as_json: bool) -> None:
    """Show sizes, categories and diversity.

    Example: xpm dataset stats --base xpm-tiny --png stats.png
    """
    with model_folder(here(), base, progress=console) if base else nullcontext() as folder:
        stats = commands.statistics(target, base=folder, png=png)
    if as_json:
        console.json(stats)
        return
    console.card({key: stats[key] for key in ("rows", "duplicates", "distinct_2")})
    header = [stats["unit"], *stats["prompt"]]
    console.table(header, [[name, *stats[name].values()] for name in ("prompt", "completion")])
    for category, counts in stats["categories"].items():
        console.table([category, "rows"], list(counts.items()))


@dataset_command.command("split")
@_folder
@_json
@click.pass_obj
def split_command(console: Console, folder: Path, as_json: bool) -> None:
    """Part the data into training, validation and test circles, by what training.dataset.split holds out.

    Example: xpm dataset split
    """
    report = commands.split(folder)
    if as_json:
        console.json(report.to_dict())
        return
    console.table(
        ["part", "rows", "prompts shared with training"],
        [[name, count, report.overlap.get(name, "")] for name, count in report.counts.items()],
    )
    if any(report.dropped.values()):
        console.say("dropped " + ", ".join(f"{count} {reason}" for reason, count in report.dropped.items() if count))
    for name, shared in report.overlap.items():
        if ":" in name:
            part, field = name.split(":")
            console.say(f"{part}: {shared} of its held-out values of {field} occur in training")


@dataset_command.command("filter")
@_target
@click.option(
    "--where",
    "conditions",
    multiple=True,
    required=True,
    metavar="CONDITION",
    help="A condition that rows must meet; repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there instead of in place.")
@_json
@click.pass_obj
def filter_command(
    console: Console, target: Path, conditions: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Keep the rows that meet every condition.

    Example: xpm dataset filter --where difficulty=hard --where 'completion_length<400'
    """
    kept, dropped = commands.filter_data(target, conditions, out=out)
    if as_json:
        console.json({"kept": kept, "dropped": dropped})
    else:
        console.say(f"kept {kept}, dropped {dropped}")


@dataset_command.command("preview")
@_target
@click.option("--count", type=click.IntRange(1), default=3, show_default=True, help="How many rows are shown.")
@_json
@click.pass_obj
def preview_command(console: Console, target: Path, count: int, as_json: bool) -> None:
    """Show the first rows.

    Example: xpm dataset preview --count 5
    """
    rows = list(itertools.islice(read_rows(commands.data_file(target)), count))
    if as_json:
        console.json(rows)
        return
    for row in rows:
        console.card({key: str(value) for key, value in row.items() if key not in ("check", "phrasing")})
        console.out("")
