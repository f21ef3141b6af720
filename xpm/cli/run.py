"""run."""

import sys
from typing import Any

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.cli.sizes import SIZE
from xpm.cli.text import stdin_text
from xpm.config import Config
from xpm.errors import UsageError
from xpm.operations.run import Answer, RunOptions, run


@click.command("run")
@click.argument("prompt")
@click.option(
    "--expert", "-e", "experts", multiple=True, metavar="NAME", help="Use this expert; repeat to compose several."
)
@click.option("--no-expert", is_flag=True, help="Use the base alone.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="By default the setting run.device.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the setting run.threads.")
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
@click.option("--verbose", "-v", is_flag=True, help="Show experts, speeds and attach time on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer with its figures as JSON.")
@click.pass_obj
def run_command(
    console: Console, /, prompt: str, experts: tuple[str, ...], no_expert: bool, device: str | None, threads: int | None,
    memory: int | None, kernels: str, verbose: bool, as_json: bool, stop: tuple[str, ...], **sampling: Any,
) -> None:  # fmt: skip
    """Answer PROMPT (`-` reads it from stdin). Without --expert, keywords of the installed experts choose one.

    Example: xpm run "List the names of users older than 25. Schema: users(id, name, age)"
    """
    if no_expert and experts:
        raise UsageError("--expert and --no-expert contradict each other")
    text = stdin_text().strip() if prompt == "-" else prompt
    if not text:
        raise UsageError("the prompt is empty")
    settings = {name: value for name, value in sampling.items() if value is not None} | ({"stop": stop} if stop else {})
    environment = here()
    config = Config.read(environment.home.root)
    options = RunOptions(
        experts=() if no_expert else experts or None, sampling=settings, device=device or str(config.get("run.device")),
        threads=threads or config.number("run.threads") or None, memory=memory, kernels=kernels,
    )  # fmt: skip
    answer = run(environment, text, options, progress=console, show=(lambda piece: None) if as_json else console.piece)
    if as_json:
        console.json(_document(answer))
        return
    console.out("")
    if verbose or console.verbose:
        _show_figures(answer)


def _document(answer: Answer) -> dict[str, Any]:
    result = answer.result
    return {
        "text": result.text,
        "experts": list(result.experts),
        "base": answer.base,
        "device": answer.device,
        "kernels": answer.kernels,
        "finish_reason": result.finish_reason,
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
