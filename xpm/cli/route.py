"""route: which experts a prompt goes to, and why."""

from pathlib import Path
from typing import Any

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.cli.text import read_prompt_text
from xpm.errors import UsageError
from xpm.operations.explain_route import Explained, explain_route
from xpm.operations.route import evaluate_file


@click.command("route")
@click.argument("prompt", required=False)
@click.option("--prompt-file", type=click.Path(path_type=Path, dir_okay=False), help="Read the prompt from this file.")
@click.option(
    "--eval",
    "labelled",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge the router on JSON lines with prompt and experts.",
)
@click.option(
    "--confusion",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --eval, draw who is taken for whom as this PNG.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show every signal of every candidate.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def route_command(
    console: Console,
    /,
    prompt: str | None,
    prompt_file: Path | None,
    labelled: Path | None,
    confusion: Path | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Explain which of the installed experts PROMPT (`-` reads stdin) goes to: candidates, signals, the decision, how
    the answer would be decoded, and how long that took. Nothing is run.

    Example: xpm route "How many users are there? Schema: users(id, name)"
    """
    if labelled is not None:
        if prompt is not None or prompt_file is not None:
            raise UsageError("--eval has its own prompts", hint="leave out PROMPT and --prompt-file")
        _judge(console, labelled, confusion, verbose=verbose, as_json=as_json)
        return
    if confusion is not None:
        raise UsageError("--confusion needs --eval")
    explained = explain_route(here(), read_prompt_text(prompt, prompt_file), progress=console)
    if as_json:
        console.json(_document(explained))
        return
    _show(console, explained, verbose=verbose or console.verbose)


def _document(explained: Explained) -> dict[str, Any]:
    decision = explained.decision
    return {
        "experts": list(explained.experts),
        "scores": {each.name: round(each.probability, 4) for each in decision.candidates},
        "reasons": {each.name: list(each.reasons) for each in decision.candidates},
        "signals": {each.name: dict(each.signals) for each in decision.candidates},
        "confidence": round(decision.confidence, 4),
        "reason": decision.reason,
        "task": decision.task,
        "language": decision.language,
        "prompt": list(decision.signs),
        "decoding": explained.sampling,
        "ms": {name: round(value, 3) for name, value in decision.ms.items()},
    }


def _show(console: Console, explained: Explained, *, verbose: bool) -> None:
    decision = explained.decision
    if decision.candidates:
        rows = [
            (
                each.name,
                f"{each.probability:.0%}",
                "chosen" if each.name in explained.experts else "",
                _signals(each.signals) if verbose else "; ".join(each.reasons),
            )
            for each in decision.candidates
        ]
        console.table(("expert", "score", "", "signals" if verbose else "why"), rows)
        console.out("")
    stated = {
        name: value
        for name, value in explained.sampling.items()
        if name in ("temperature", "top_p", "repetition_penalty", "max_tokens")
    }
    console.card(
        {
            "decision": " + ".join(explained.experts) or "the base alone",
            "because": f"{decision.reason} ({decision.confidence:.0%} sure)",
            "task": decision.task,
            "language": decision.language,
            "prompt": ", ".join(decision.signs),
            "decoding": ", ".join(f"{name} {value:g}" for name, value in stated.items()),
            "took": ", ".join(f"{name} {value:.2f} ms" for name, value in decision.ms.items()),
        }
    )


def _signals(signals: Any) -> str:
    return ", ".join(f"{name} {value:+.2f}" for name, value in signals.items())


def _judge(console: Console, labelled: Path, confusion: Path | None, *, verbose: bool, as_json: bool) -> None:
    found = evaluate_file(here(), labelled, progress=console)
    if confusion is not None:
        from xpm.operations.confusion import write_confusion

        names = write_confusion(confusion, found)
    if as_json:
        console.json(found.to_dict())
        return
    rows = [
        (number, each.name, each.num_wanted, each.num_chosen, _share(each.precision), _share(each.recall))
        for number, each in enumerate(found.scores, start=1)
    ]
    console.table(("", "expert", "wanted", "chosen", "precision", "recall"), rows)
    console.out("")
    console.card(
        {
            "prompts": found.num_prompts,
            "accuracy": _share(found.accuracy),
            "calibration": f"{found.calibration_error:.3f} expected error",
            "took": f"{found.p50_ms:.2f} ms (half of them), {found.p99_ms:.2f} ms (99 of 100)",
        }
    )
    if verbose:
        for each in found.wrong:
            wanted, chosen = (" + ".join(sorted(names)) or "(base)" for names in (each.wanted, each.chosen))
            console.out(f"wrong: {each.prompt[:100]!r}: {chosen} instead of {wanted}")
    if confusion is not None:
        console.say(f"wrote {confusion}; rows are wanted, columns chosen: " + ", ".join(names))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
