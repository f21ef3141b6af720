"""run: a prompt in, an answer out."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xpm.cli.answering import adapter_memory_option, answering_options, figures_of, warn_of
from xpm.cli.context import here
from xpm.cli.documents import context_options, told_of
from xpm.cli.interrupt import EXIT_CODE, interruptible
from xpm.cli.render import Console
from xpm.cli.text import read_prompt_text
from xpm.operations.answering import RunOptions, Show
from xpm.operations.context_files import read_context
from xpm.operations.run import Answered, run

if TYPE_CHECKING:
    from xpm_runtime import GenerationResult
    from xpm_runtime.passages.choose import Chosen

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("run")
@click.argument("prompt", required=False)
@click.option("--prompt-file", type=_FILE, help="Read the prompt from this file.")
@click.option(
    "--file",
    "-f",
    "files",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    multiple=True,
    help="Put this file, with its name, in front of the prompt; `-` is stdin. Repeatable.",
)
@context_options("what the context holds beside prompt and answer")
@adapter_memory_option
@click.option("--n", "num_answers", type=click.IntRange(1, 100), metavar="N", help="Write so many answers.")
@click.option("--stats", is_flag=True, help="Show experts, speeds and attach time on stderr.")
@click.option("--verbose", "-v", is_flag=True, help="Show what --stats does, and more of what is done.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer with its figures as JSON.")
@click.pass_obj
@answering_options
def run_command(
    console: Console,
    /,
    prompt: str | None,
    prompt_file: Path | None,
    files: tuple[Path, ...],
    context_files: tuple[Path, ...],
    context_tokens: int | None,
    adapter_memory: int | None,
    num_answers: int | None,
    stats: bool,
    verbose: bool,
    as_json: bool,
    options: RunOptions,
) -> None:
    """Answer PROMPT (`-`, or none when something is piped in, reads stdin). Without --expert, the router
    chooses among the installed ones (`xpm route` explains how). Ctrl-C stops the answer; what was written
    stays, and the exit code is 130.

    Example: xpm run "List the names of users older than 25. Schema: users(id, name, age)"
    """
    text = read_prompt_text(prompt, prompt_file, files)
    context = read_context(context_files, budget=context_tokens, context=options.context)
    answered = run(
        here(),
        text,
        replace(options, adapter_memory=adapter_memory),
        num_answers=num_answers or 1,
        progress=console,
        show=_unseen if as_json else _numbered(console, num_answers) if num_answers else _plain(console),
        interruption=interruptible,
        context=context,
        tell=partial(_tell, console),
    )
    if as_json:
        console.json(_documents(answered) if num_answers else _document(answered, answered.results[0]))
    else:
        console.out("")
    for each in answered.results:
        warn_of(console, each)
    if stats or ((verbose or console.verbose) and not as_json):
        _show_figures(console, answered)
    if answered.is_stopped:
        click.get_current_context().exit(EXIT_CODE)


def _tell(console: Console, chosen: "Chosen") -> None:
    """Say what is shown of each document, where that is not all of it."""
    for line in told_of(chosen):
        console.say(line)


def _unseen(number: int, piece: str) -> None:
    pass


def _plain(console: Console) -> Show:
    return lambda number, piece: console.answer(piece)


def _numbered(console: Console, num_answers: int) -> Show:
    """Each answer below a line that says which it is."""
    begun = -1

    def show(number: int, piece: str) -> None:
        nonlocal begun
        while begun < number:
            begun += 1
            console.out(f"{chr(10) if begun else ''}--- answer {begun + 1} of {num_answers}")
        console.answer(piece)

    return show


def _documents(answered: Answered) -> dict[str, Any]:
    """Several answers: what they share, and a list of the rest."""
    shared = _shared(answered)
    return shared | {"answers": [_own(each) for each in answered.results]}


def _document(answered: Answered, result: "GenerationResult") -> dict[str, Any]:
    return {"text": result.text} | _shared(answered) | _own(result)


def _shared(answered: Answered) -> dict[str, Any]:
    context = {"context": asdict(answered.context)} if answered.context else {}
    notes = {"notes": list(answered.notes)} if answered.notes else {}
    return (
        context
        | notes
        | {
            "experts": list(answered.results[0].experts),
            "base": answered.base,
            "device": answered.device,
            "kernels": answered.kernels,
            "attach_ms": round(answered.attach_ms, 3),
        }
    )


def _own(result: "GenerationResult") -> dict[str, Any]:
    return {
        "text": result.text,
        "finish_reason": result.finish_reason,
        "missing": result.missing,
        "num_prompt_tokens": result.num_prompt_tokens,
        "num_tokens": len(result.token_ids),
        "rope": str(result.rope) if result.rope else None,
        "cache": str(result.cache) if result.cache else None,
        "prefill_ms": round(result.prefill_ms, 3),
        "decode_ms": round(result.decode_ms, 3),
        "prefill_tok_s": round(result.prefill_tok_s, 1),
        "decode_tok_s": round(result.decode_tok_s, 1),
        "num_drafted": result.num_drafted,
        "num_accepted": result.num_accepted,
    }


def _show_figures(console: Console, answered: Answered) -> None:
    experts = ", ".join(answered.results[0].experts) or "none"
    console.figures(f"experts: {experts} on {answered.base} ({answered.device}, {answered.kernels} kernels)")
    for number, each in enumerate(answered.results):
        console.figures((f"attach {answered.attach_ms:.1f} ms, " if number == 0 else "") + figures_of(each))
