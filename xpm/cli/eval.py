"""eval: answers to a file of prompts, judged."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from xpm.cli.answering import answering_options
from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.operations.answering import RunOptions
from xpm.operations.evaluate import EvaluatedFile, Judged, evaluate

_BELOW = 11
_SHOWN = 300


@click.command("eval")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--min-share", type=click.FloatRange(0, 1), help="Exit with 11 if fewer answers are right, e.g. 0.9.")
@click.option("--verbose", "-v", is_flag=True, help="Show each wrong answer.")
@click.option("--json", "as_json", is_flag=True, help="Print every answer and verdict as JSON.")
@click.pass_obj
@answering_options
def eval_command(
    console: Console, /, file: Path, min_share: float | None, verbose: bool, as_json: bool, options: RunOptions
) -> None:
    """Answer the prompts of FILE as `xpm run` would, and judge the answers. FILE is JSON lines with `prompt` and
    `expected`, and maybe `judge` and `expert` (a name, or an array of names; by default --expert, or the router's
    choice). A judge is exact (the default), contains, regex, or, with the build extra, a language: json, sql, cypher,
    python, typescript, rust, text.

    Example: xpm eval cases.jsonl --min-share 0.9
    """
    found = evaluate(here(), file, options, progress=console)
    if as_json:
        console.json(_document(found))
    else:
        _show(console, found, verbose=verbose or console.verbose)
    if min_share is not None and found.share < min_share:
        console.warn(f"{found.share:.1%} are right, fewer than the {min_share:.1%} asked for")
        click.get_current_context().exit(_BELOW)


def _show(console: Console, found: EvaluatedFile, *, verbose: bool) -> None:
    ordered = sorted(found.judged, key=_kind)
    rows = [(*kind, *_share(list(group))) for kind, group in groupby(ordered, _kind)]
    console.table(("experts", "judge", "right", "of", "share"), [*rows, ("all", "", *_share(found.judged))])
    for each in found.judged if verbose else ():
        if not each.is_right:
            console.out(f"\nline {each.case.line}: {each.case.prompt[:_SHOWN]}")
            console.answer(f"  expected  {each.case.expected[:_SHOWN]}\n  answered  {each.answer[:_SHOWN]}\n")
            console.out(f"  {each.reason}")


def _kind(each: Judged) -> tuple[str, str]:
    return " + ".join(each.experts) or "(the base)", each.case.judge


def _share(judged: Iterable[Judged]) -> tuple[int, int, str]:
    rights = [each.is_right for each in judged]
    return sum(rights), len(rights), f"{sum(rights) / len(rights):.1%}"


def _document(found: EvaluatedFile) -> dict[str, Any]:
    return {
        "base": found.base,
        "right": found.num_right,
        "of": len(found.judged),
        "share": round(found.share, 4),
        "answers": [
            {
                "line": each.case.line,
                "prompt": each.case.prompt,
                "expected": each.case.expected,
                "judge": each.case.judge,
                "experts": list(each.experts),
                "answer": each.answer,
                "right": each.is_right,
                "reason": each.reason,
            }
            for each in found.judged
        ],
    }
