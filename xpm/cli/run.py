"""run: a prompt in, an answer out."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xpm.cli.completion import installed_names
from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.cli.sizes import SIZE
from xpm.cli.text import stdin_text
from xpm.config import Config
from xpm.errors import UsageError
from xpm.operations.destructive import what_is_lost
from xpm.operations.devices import DEVICES
from xpm.operations.grammars import grammar_in
from xpm.operations.local import is_path
from xpm.operations.run import Answer, RunOptions, run

if TYPE_CHECKING:
    from xpm_runtime import Grammar

THREADS_PER_CORE = 4
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("run")
@click.argument("prompt", required=False)
@click.option("--prompt-file", type=_FILE, help="Read the prompt from this file.")
@click.option(
    "--expert",
    "-e",
    "experts",
    multiple=True,
    metavar="NAME|PATH",
    shell_complete=installed_names,
    help="Use this expert: an installed one, an .expert file, or a folder. Repeat to compose several.",
)
@click.option("--base", default="", metavar="PATH", help="Run on this .base file or folder instead of the base here.")
@click.option("--no-expert", is_flag=True, help="Use the base alone.")
@click.option("--device", type=click.Choice(DEVICES), help="By default the setting run.device.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the setting run.threads.")
@click.option("--context", type=click.IntRange(1), help="Tokens of prompt and answer together; 2048 by default.")
@click.option("--memory", type=SIZE, help="Stay within so much memory, e.g. 800MB; refuse rather than exceed it.")
@click.option(
    "--kernels", type=click.Choice(["auto", "native", "portable"]), default="auto", help="Our own, or ONNX Runtime's."
)
@click.option("--max-tokens", type=click.IntRange(1), help="Stop after so many tokens.")
@click.option("--temperature", type=float, help="0 always takes the likeliest token.")
@click.option("--top-k", type=int, help="Draw from the K likeliest tokens; 0 for all.")
@click.option("--top-p", type=float, help="Draw from the likeliest tokens that together have this probability.")
@click.option("--min-p", type=float, help="Drop tokens less likely than this share of the likeliest.")
@click.option("--repetition-penalty", type=float, help="Above 1, tokens seen before become less likely.")
@click.option("--stop", multiple=True, help="End before this text; repeatable.")
@click.option("--seed", type=int, help="Make drawing repeatable.")
@click.option(
    "--grammar",
    type=_FILE,
    help="Write only what fits this grammar: a file that ends in .gbnf, .lark, .regex or .json; or json, sql, cypher.",
)
@click.option("--json-schema", type=_FILE, help="Write only JSON that is valid under the JSON Schema in FILE.")
@click.option("--no-grammar", is_flag=True, help="Write freely, also where an expert asks for a grammar.")
@click.option("--verbose", "-v", is_flag=True, help="Show experts, speeds and attach time on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer with its figures as JSON.")
@click.pass_obj
def run_command(
    console: Console,
    /,
    prompt: str | None,
    prompt_file: Path | None,
    experts: tuple[str, ...],
    base: str,
    no_expert: bool,
    device: str | None,
    threads: int | None,
    context: int | None,
    memory: int | None,
    kernels: str,
    verbose: bool,
    as_json: bool,
    stop: tuple[str, ...],
    grammar: Path | None,
    json_schema: Path | None,
    no_grammar: bool,
    **sampling: Any,
) -> None:
    """Answer PROMPT (`-`, or none when something is piped in, reads stdin). Without --expert, the router chooses among the
    installed ones (`xpm route` explains how).

    Example: xpm run "List the names of users older than 25. Schema: users(id, name, age)"
    """
    if no_expert and experts:
        raise UsageError("--expert and --no-expert contradict each other")
    if base and not is_path(base):
        raise UsageError(f"--base {base} is no path", hint=f"write ./{base}, or `xpm base add {base}` to use it here")
    text = read_prompt_text(prompt, prompt_file)
    settings = {name: value for name, value in sampling.items() if value is not None} | ({"stop": stop} if stop else {})
    if sum((grammar is not None, json_schema is not None, no_grammar)) > 1:
        raise UsageError("--grammar, --json-schema and --no-grammar contradict each other", hint="give one of them")
    if grammar or json_schema or no_grammar:
        settings["grammar"] = _grammar(grammar, json_schema, text)
    environment = here()
    config = Config.read(environment.home.root)
    options = RunOptions(
        experts=() if no_expert else experts or None,
        sampling=settings,
        device=device or str(config.get("run.device")),
        threads=_bounded(console, threads or config.number("run.threads")),
        memory=memory,
        kernels=kernels,
        base=base,
        context=context,
    )
    answer = run(environment, text, options, progress=console, show=(lambda piece: None) if as_json else console.piece)
    if as_json:
        console.json(_document(answer))
    else:
        console.out("")
    if answer.result.missing is not None:
        console.warn(f"the answer is not complete: it lacks {answer.result.missing!r}")
    if danger := what_is_lost(answer.result.text):
        console.warn(danger)
    if as_json:
        return
    if verbose or console.verbose:
        _show_figures(answer)


def _grammar(file: Path | None, schema: Path | None, prompt: str) -> "Grammar | None":
    return grammar_in(schema, "json_schema") if schema else grammar_in(file, prompt=prompt) if file else None


def read_prompt_text(given: str | None, file: Path | None) -> str:
    """The prompt from where it is: the command line, a file, or stdin."""
    if file is not None and given is not None:
        raise UsageError("the prompt is given twice", hint="leave out PROMPT or --prompt-file")
    if file is None and given is None and sys.stdin.isatty():
        raise UsageError("there is no prompt", hint='write it: xpm run "…", name a --prompt-file, or pipe it in')
    try:
        if file is not None:
            text = file.read_bytes().decode().strip()
        elif given is None or given == "-":
            text = stdin_text().strip()
        else:
            text = given
            text.encode()
    except UnicodeError as error:
        raise UsageError("the prompt is not UTF-8", context=str(error)[:200]) from error
    if not text.strip():
        raise UsageError("the prompt is empty")
    return text


def _bounded(console: Console, threads: int) -> int | None:
    """The threads asked for, at most a few for each core: more only wait for one another, and each takes memory."""
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if threads > most:
        console.warn(f"{threads:,} threads are more than this machine can use; running with {most}")
    return min(threads, most) or None


def _document(answer: Answer) -> dict[str, Any]:
    result = answer.result
    return {
        "text": result.text,
        "experts": list(result.experts),
        "base": answer.base,
        "device": answer.device,
        "kernels": answer.kernels,
        "finish_reason": result.finish_reason,
        "missing": result.missing,
        "num_prompt_tokens": result.num_prompt_tokens,
        "num_tokens": len(result.token_ids),
        "attach_ms": round(answer.attach_ms, 3),
        "prefill_ms": round(result.prefill_ms, 3),
        "decode_ms": round(result.decode_ms, 3),
        "prefill_tok_s": round(result.prefill_tok_s, 1),
        "decode_tok_s": round(result.decode_tok_s, 1),
    }


def _show_figures(answer: Answer) -> None:
    result = answer.result
    sys.stderr.write(
        f"experts: {', '.join(result.experts) or 'none'} on {answer.base} ({answer.device}, {answer.kernels} kernels)\n"
        f"attach {answer.attach_ms:.1f} ms, prefill {result.prefill_tok_s:,.0f} tok/s ({result.num_prompt_tokens} tokens), "
        f"decode {result.decode_tok_s:,.0f} tok/s ({len(result.token_ids)} tokens), {result.finish_reason}\n"
    )
