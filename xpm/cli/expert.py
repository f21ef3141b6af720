"""new, check, train, validate, compare: an expert's life before it is built."""

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.operations import expert as operations
from xpm.operations.extras import require_extra
from xpm.operations.scaffold import new_expert
from xpm.project import DEFAULT_BASE
from xpm_index.errors import XpmError

_folder = click.argument(
    "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path(), required=False
)
_base = click.option(
    "--base", default="", help="The base: a model's folder or GGUF file, or the name of one made here or in an index."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class Malformed(XpmError):
    code = "invalid-expert"
    exit_code = 12


@click.group("new")
def new_command() -> None:
    """Start an expert."""


@new_command.command("expert")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--base", default=DEFAULT_BASE, show_default=True, help="The base it will be trained on.")
@click.option("--license", default="Apache-2.0", show_default=True, help="Its licence, an SPDX expression.")
@click.option("--domain", default="", help="One that xpm makes data for by itself, as sql.")
@click.pass_obj
def new_expert_command(console: Console, folder: Path, base: str, license: str, domain: str) -> None:
    """Start an expert's folder: manifest, model card, license, test cases, Git attributes.

    Example: xpm new expert expert-sql --domain sql
    """
    made = new_expert(folder, base=base, license=license, domain=domain)
    console.say(f"wrote {', '.join(str(path.relative_to(folder)) for path in made)} in {folder}")
    console.say(f"next: cd {folder}; xpm check; xpm dataset generate; xpm dataset split; xpm train; xpm validate")


@click.command("check")
@_folder
@click.option("--publish", is_flag=True, help="Look by the rules of publishing too (docs/reference/publish-rules.md).")
@_json
@click.pass_obj
def check_command(console: Console, folder: Path, publish: bool, as_json: bool) -> None:
    """Look for what is wrong with an expert's folder, key by key.

    Example: xpm check
    """
    findings = operations.check(here(), folder, publish=publish)
    errors = [each for each in findings if each.is_error]
    if as_json:
        console.json([each.to_dict() for each in findings])
    else:
        for each in findings:
            hint = f" ({each.hint})" if each.hint else ""
            rule = f"[{each.rule}] " if each.rule else ""
            console.out(f"{'error' if each.is_error else 'warning'}: {rule}{each.where}: {each.what}{hint}")
    if errors:
        raise Malformed(
            f"{len(errors)} errors in {folder / 'manifest.json'} and the files beside it",
            hint="correct them, then check again",
        )
    if not findings and not as_json:
        console.say("nothing is wrong")


@click.command("train")
@_folder
@_base
@click.option("--restart", is_flag=True, help="Forget an earlier run instead of going on with it.")
@_json
@click.pass_obj
def train_command(console: Console, folder: Path, base: str, restart: bool, as_json: bool) -> None:
    """Train the expert as its manifest says (TRL and PEFT); an interrupted run goes on from its last checkpoint.

    Example: xpm train
    """
    result = operations.train(here(), folder, base=base, restart=restart, progress=console, report=console.say)
    if as_json:
        console.json(result.to_dict())
        return
    figure = f"{result.score:.1%} right" if result.metric == "task" else f"loss {result.score:.4f}"
    console.say(f"best at step {result.best_step} of {result.steps}: {figure}; see {folder / 'training'}")


@click.command("validate")
@_folder
@_base
@click.option(
    "--variant",
    type=click.Choice(["fp32", "fp16", "int8", "int4"]),
    default="fp32",
    show_default=True,
    help="The variant of the base that answers.",
)
@click.option("--cases", type=click.IntRange(1), default=500, show_default=True, help="The most cases of a circle.")
@click.option(
    "--data", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Judge on these rows alone."
)
@click.option(
    "--against", type=click.Path(path_type=Path, exists=True), help="An earlier version: its folder or package."
)
@click.option("--experts", default="", metavar="A,B,C", help="Folders or packages of experts that act beside it.")
@click.option(
    "--matrix",
    type=click.Path(path_type=Path, file_okay=False),
    help="Judge each of --experts (and FOLDER, if it is named) alone and beside each other; write the matrix into "
    "this folder.",
)
@click.option(
    "--fused", default="", metavar="A,B", help="With --matrix: what `xpm fuse` made of them, to answer instead."
)
@click.option("--no-execution", is_flag=True, help="Compare texts instead of running what was written.")
@click.option("--no-grammar", is_flag=True, help="Let it write freely, whatever grammar its manifest asks for.")
@click.option("--no-write", is_flag=True, help="Leave the manifest as it is.")
@_json
@click.pass_context
def validate_command(
    context: click.Context,
    /,
    folder: Path,
    base: str,
    variant: str,
    cases: int,
    file: Path | None,
    against: Path | None,
    experts: str,
    matrix: Path | None,
    fused: str,
    no_execution: bool,
    no_grammar: bool,
    no_write: bool,
    as_json: bool,
) -> None:
    """Judge the expert on held-back cases beside the base alone, running what it writes in a sandbox.

    Writes validation/report.md, .html and .json, and quality_metrics into the manifest.

    With --matrix, --experts may name installed experts too, and no manifest is written.

    Example: xpm validate --against ../expert-sql-0.1.0 --experts ../expert-json
    """
    require_extra()
    from xpm_build.evaluation.conflict_report import conflict_blocks
    from xpm_build.evaluation.conflicts import MatrixOptions
    from xpm_build.evaluation.report import blocks_of
    from xpm_build.evaluation.validate import ValidationOptions

    console: Console = context.obj
    named, instead = _listed(experts), _listed(fused)
    if instead and not matrix:
        raise UsageError("--fused goes with --matrix")
    if matrix:
        if against or file or no_write or no_grammar:
            raise UsageError("--matrix goes with none of --against, --data, --no-grammar and --no-write")
        is_given = context.get_parameter_source("folder") is not ParameterSource.DEFAULT
        found = operations.conflicts(
            here(),
            [*([str(folder)] if is_given else []), *named],
            matrix,
            base=base,
            options=MatrixOptions(
                variant=variant, cases=cases, execution=not no_execution, fused=tuple(map(Path, instead))
            ),
            progress=console,
            report=console.say,
        ).to_dict()
        if as_json:
            console.json(found)
            return
        _show(console, conflict_blocks(found))
        console.say(f"see {matrix / 'matrix.html'}")
        return
    options = ValidationOptions(
        variant=variant,
        cases=cases,
        file=file,
        against=against,
        execution=not no_execution,
        write_manifest=not no_write,
        grammar=not no_grammar,
        others=tuple(map(Path, named)),
    )
    result = operations.validate(here(), folder, base=base, options=options, progress=console, report=console.say)
    if as_json:
        console.json(result.to_dict())
        return
    document = {**result.to_dict(), "failures": []}
    _show(console, blocks_of(document))
    console.say(f"see {folder / 'validation' / 'report.html'}")


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


@click.command("compare")
@click.argument("first", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write it as .md or .html, with a picture beside it.",
)
@_json
@click.pass_obj
def compare_command(console: Console, first: Path, second: Path, out: Path | None, as_json: bool) -> None:
    """Compare two validated experts, case by case where they were judged on the same cases.

    Example: xpm compare ./expert-sql-dora ./expert-sql-lora --out comparison.md
    """
    require_extra()
    from xpm_build.evaluation.compare import compare_experts, write_comparison

    document, blocks = compare_experts(first, second)
    if out:
        write_comparison(document, blocks, out)
    if as_json:
        console.json(document)
    else:
        _show(console, blocks)


def _show(console: Console, blocks: Sequence[object]) -> None:
    for block in blocks:
        if isinstance(block, str):
            console.out(block.lstrip("# "))
        else:
            assert isinstance(block, tuple)
            header, *rows = block[1]
            console.table(header, rows)
        console.out("")
