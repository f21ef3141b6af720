"""bench speed, bench memory, bench context."""

import os
from pathlib import Path

import click

from xpm.cli.answering import rope_setting
from xpm.cli.context import here
from xpm.cli.interrupt import EXIT_CODE, interruptible
from xpm.cli.kv_cache import cache_options, cache_setting
from xpm.cli.render import Console, size
from xpm.operations import bench as operations

_PEERS = ("llama.cpp", "ik_llama.cpp", "peft")
_TASKS = ("needle", "needles", "pairs", "variables", "counting")
_LEAST_LENGTH, _MOST_LENGTH = 128, 1 << 20


@click.group("bench")
def bench_command() -> None:
    """Measure the engine on this machine (speed and memory need the build extra; llama.cpp and
    the chart the bench extra)."""


@bench_command.command("speed")
@click.option(
    "--shape",
    type=click.Choice(["qwen3-0.6b", "tiny"]),
    default="qwen3-0.6b",
    show_default=True,
    help="The shape of the model.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A GGUF file: measure this model instead of a random one.",
)
@click.option("--peer", "peers", multiple=True, type=click.Choice(_PEERS), help="By default all installed.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often each program takes its turn."
)
@click.option(
    "--prompt-tokens", type=click.IntRange(8, 1024), default=128, show_default=True, help="Tokens of the prompt."
)
@click.option(
    "--decode-tokens", type=click.IntRange(8, 512), default=48, show_default=True, help="Tokens decoded behind it."
)
@click.option("--threads", type=click.IntRange(1, 4 * (os.cpu_count() or 1)), help="By default all cores.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".bench"),
    show_default=True,
    help="Where models are kept between runs.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench"),
    show_default=True,
    help="Where the report is written.",
)
@click.pass_obj
def speed_command(
    console: Console,
    shape: str,
    model: Path | None,
    peers: tuple[str, ...],
    rounds: int,
    prompt_tokens: int,
    decode_tokens: int,
    threads: int | None,
    work: Path,
    out: Path,
) -> None:
    """Compare with llama.cpp and Transformers + PEFT, on the same random weights, taking turns;
    write a table and a chart.

    Example: xpm bench speed --rounds 3
    """
    written = operations.speed(
        work,
        out,
        shape=shape,
        model=model,
        rounds=rounds,
        prompt_tokens=prompt_tokens,
        decode_tokens=decode_tokens,
        peers=peers,
        threads=threads,
        report=console.say,
    )
    console.out((out / "speed.md").read_text(encoding="utf-8"))
    console.say(f"wrote {', '.join(str(path) for path in written)}")


@bench_command.command("memory")
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--tokens", type=click.IntRange(1), default=512, show_default=True, help="Tokens in the cache.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def memory_command(console: Console, folder: Path | None, tokens: int, as_json: bool) -> None:
    """Print what the engine's formula says is in memory beside what the system says.

    FOLDER is an exported base; without it, the base and all experts of this environment are loaded.

    Example: xpm bench memory --tokens 1024
    """
    found = operations.memory(here(), folder=folder, tokens=tokens)
    if as_json:
        console.json(found)
        return
    console.out(f"kernels: {found['kernels']}")
    for title in ("formula", "real"):
        parts = ", ".join(f"{name} {size(value)}" for name, value in found[title].items())
        console.out(f"{title}: {parts or 'not known on this system'}")


class _Lengths(click.ParamType["tuple[int, ...]"]):
    """Numbers of tokens, divided by commas."""

    name = "N,N,…"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} are no numbers divided by commas, such as 512,2048", param, ctx)
        if any(not _LEAST_LENGTH <= each <= _MOST_LENGTH for each in found):
            self.fail(f"lengths are {_LEAST_LENGTH} to {_MOST_LENGTH} tokens", param, ctx)
        return found


@bench_command.command("context")
@click.argument("base", required=False, default="")
@click.option(
    "--lengths",
    type=_Lengths(),
    default="512,1024,2048,4096,8192",
    show_default=True,
    help="Tokens of prompt and answer together, each a row of the table.",
)
@click.option("--task", "tasks", multiple=True, type=click.Choice(_TASKS), help="Repeatable; by default all.")
@click.option(
    "--cases", type=click.IntRange(0, 1000), default=5, show_default=True, help="Prompts of each task and length."
)
@click.option(
    "--windows",
    type=click.IntRange(0, 1000),
    default=2,
    show_default=True,
    help="Pieces of a text whose loss is measured.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The text; by default the language reference that comes with Python.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another makes other prompts.")
@click.option(
    "--rope", metavar="KIND[:FACTOR]", help="Scale positions at lengths beyond what the base was made for, e.g. yarn."
)
@cache_options
@click.option("--threads", type=click.IntRange(1, 4 * (os.cpu_count() or 1)), help="By default all cores.")
@click.option(
    "--kernels", type=click.Choice(["auto", "native", "portable"]), default="auto", help="Our own, or ONNX Runtime's."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_obj
def context_command(
    console: Console,
    base: str,
    lengths: tuple[int, ...],
    tasks: tuple[str, ...],
    cases: int,
    windows: int,
    text: Path | None,
    seed: int,
    rope: str | None,
    kv_cache: str | None,
    window: int | None,
    sinks: int | None,
    threads: int | None,
    kernels: str,
    as_json: bool,
) -> None:
    """Ask a base for what lies in long prompts, measure the loss of a text by how much of it came before, and
    say how far it reaches. BASE is a path or the name of the base here, which it is by default. Ctrl-C ends
    it with what was measured.

    Example: xpm bench context --lengths 512,2048 --cases 2
    """
    from xpm_build.bench.context.report import document, markdown
    from xpm_build.bench.context.run import ContextOptions

    options = ContextOptions(
        lengths=lengths,
        tasks=tasks or _TASKS,
        cases=cases,
        windows=windows,
        rope=rope_setting(rope),
        cache=cache_setting(kv_cache, window, sinks),
        text=text,
        seed=seed,
        threads=threads,
        kernels=kernels,
    )
    found = operations.context(here(), base, options, progress=console, report=console.say, interruption=interruptible)
    if as_json:
        console.json(document(found))
    else:
        console.out(markdown(found))
    if found.is_stopped:
        click.get_current_context().exit(EXIT_CODE)
