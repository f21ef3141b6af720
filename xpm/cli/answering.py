"""The options of all commands that answer prompts, and the figures of an answer."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xpm.cli.completion import installed_names
from xpm.cli.context import here
from xpm.cli.kv_cache import cache_options, cache_setting
from xpm.cli.render import Console
from xpm.cli.scale_type import SCALE
from xpm.cli.sizes import SIZE
from xpm.config import DEVICES, Config
from xpm.errors import UsageError
from xpm.operations.answering import RunOptions
from xpm.operations.destructive import what_is_lost
from xpm.operations.grammars import grammar_in
from xpm.operations.local import is_path

if TYPE_CHECKING:
    from xpm_runtime import GenerationResult, Grammar

THREADS_PER_CORE = 4
_FILE = click.Path(path_type=Path, dir_okay=False)
_SAMPLING = (
    *("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "num_beams"),
    "speculative",
)

_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--expert",
        "-e",
        "experts",
        multiple=True,
        metavar="NAME|PATH",
        shell_complete=installed_names,
        help="Use this expert: an installed one, an .expert file, or a folder. Repeat to compose several.",
    ),
    click.option(
        "--scale",
        "scales",
        type=SCALE,
        multiple=True,
        metavar="EXPERT=SCALE",
        help="How strongly an expert acts, as `xpm scales` learns it: 1 as it was trained, 0 not at all. Repeatable.",
    ),
    click.option(
        "--base", default="", metavar="PATH", help="Run on this .base file or folder instead of the base here."
    ),
    click.option("--no-expert", is_flag=True, help="Use the base alone."),
    click.option("--system", default="", metavar="TEXT", help="What the base is told before anything else."),
    click.option("--device", type=click.Choice(DEVICES), help="By default the setting run.device."),
    click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the setting run.threads."),
    click.option("--context", type=click.IntRange(1), help="Tokens of prompt and answer together; 2048 by default."),
    click.option(
        "--rope",
        metavar="KIND[:FACTOR]",
        help="Scale positions where prompt and answer are longer than the base was made for, e.g. yarn.",
    ),
    cache_options,
    click.option("--memory", type=SIZE, help="Stay within so much memory, e.g. 800MB; refuse rather than exceed it."),
    click.option(
        "--kernels",
        type=click.Choice(["auto", "native", "portable"]),
        default="auto",
        help="Our own, or ONNX Runtime's.",
    ),
    click.option("--max-tokens", type=click.IntRange(1), help="Stop after so many tokens."),
    click.option("--temperature", type=float, help="0 always takes the likeliest token."),
    click.option("--top-k", type=int, help="Draw from the K likeliest tokens; 0 for all."),
    click.option("--top-p", type=float, help="Draw from the likeliest tokens that together have this probability."),
    click.option("--min-p", type=float, help="Drop tokens less likely than this share of the likeliest."),
    click.option("--repetition-penalty", type=float, help="Above 1, tokens seen before become less likely."),
    click.option("--stop", multiple=True, help="End before this text; repeatable."),
    click.option("--seed", type=int, help="Make drawing repeatable."),
    click.option(
        "--num-beams",
        type=click.IntRange(1, 64),
        metavar="N",
        help="Follow N answers at once and take the likeliest; nothing is drawn then.",
    ),
    click.option(
        "--speculative",
        type=click.Choice(["ngram"]),
        help="Guess what follows from what was there before, and verify several tokens at once: faster where a text "
        "is copied.",
    ),
    click.option(
        "--grammar",
        type=_FILE,
        help="Write only what fits this grammar: a file that ends in .gbnf, .lark, .regex or .json; or json, sql, "
        "cypher.",
    ),
    click.option("--json-schema", type=_FILE, help="Write only JSON that is valid under the JSON Schema in FILE."),
    click.option("--no-grammar", is_flag=True, help="Write freely, also where an expert asks for a grammar."),
)


adapter_memory_option = click.option(
    "--adapter-memory",
    type=SIZE,
    help="Let the experts that act take so much memory, e.g. 20MB: their ranks are cut, then the least likely "
    "left out.",
)


def answering_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what answers and how, and pass them on as one ``options: RunOptions``.

    Stands below ``click.pass_obj``: the console is the command's first argument.
    """

    @functools.wraps(command)
    def collected(
        console: Console,
        /,
        *,
        experts: tuple[str, ...],
        scales: tuple[tuple[str, float], ...],
        base: str,
        no_expert: bool,
        system: str,
        device: str | None,
        threads: int | None,
        context: int | None,
        rope: str | None,
        kv_cache: str | None,
        window: int | None,
        sinks: int | None,
        memory: int | None,
        kernels: str,
        stop: tuple[str, ...],
        grammar: Path | None,
        json_schema: Path | None,
        no_grammar: bool,
        **given: Any,
    ) -> None:
        if no_expert and experts:
            raise UsageError("--expert and --no-expert contradict each other")
        if base and not is_path(base):
            raise UsageError(
                f"--base {base} is no path", hint=f"write ./{base}, or `xpm base add {base}` to use it here"
            )
        sampling = {name: value for name in _SAMPLING if (value := given.pop(name)) is not None}
        if sum((grammar is not None, json_schema is not None, no_grammar)) > 1:
            raise UsageError("--grammar, --json-schema and --no-grammar contradict each other", hint="give one of them")
        grammar_of = functools.partial(_grammar, grammar, json_schema)
        grammar_of("")  # what can't be read is told now
        config = Config.read(here().home.root)
        options = RunOptions(
            experts=() if no_expert else experts or None,
            scales=dict(scales),
            sampling=sampling | ({"stop": stop} if stop else {}),
            grammar=grammar_of if grammar or json_schema or no_grammar else None,
            system=system,
            base=base,
            device=device or str(config.get("run.device")),
            threads=_bounded(console, threads or config.number("run.threads")),
            memory=memory,
            kernels=kernels,
            context=context,
            rope=rope_setting(rope),
            cache=cache_setting(kv_cache, window, sinks),
        )
        command(console, options=options, **given)

    for option in reversed(_OPTIONS):
        option(collected)
    return collected


def rope_setting(text: str | None) -> str:
    """What ``--rope`` says, checked; "" if it was not given."""
    if text is None:
        return ""
    from xpm_runtime import RopeScaling

    return str(RopeScaling.parse(text))


def figures_of(result: "GenerationResult") -> str:
    """How fast an answer was, in a line."""
    return (
        f"prefill {result.prefill_tok_s:,.0f} tok/s ({result.num_prompt_tokens} tokens), "
        f"decode {result.decode_tok_s:,.0f} tok/s ({len(result.token_ids)} tokens), {result.finish_reason}"
        + (f", positions scaled by {result.rope}" if result.rope else "")
        + (f", cache {result.cache}" if result.cache else "")
        + (f", {result.num_accepted} of {result.num_drafted} guesses right" if result.num_drafted else "")
    )


def warn_of(console: Console, result: "GenerationResult") -> None:
    """Say what an answer lacks, unless somebody stopped it, and what it would destroy."""
    if result.missing is not None and result.finish_reason != "cancelled":
        console.warn(f"the answer is not complete: it lacks {result.missing!r}")
    if danger := what_is_lost(result.text):
        console.warn(danger)


def _grammar(file: Path | None, schema: Path | None, prompt: str) -> "Grammar | None":
    return grammar_in(schema, "json_schema") if schema else grammar_in(file, prompt=prompt) if file else None


def _bounded(console: Console, threads: int) -> int | None:
    """The threads asked for, at most a few for each core: more only wait for one another, and each takes memory."""
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if threads > most:
        console.warn(f"{threads:,} threads are more than this machine can use; running with {most}")
    return min(threads, most) or None
