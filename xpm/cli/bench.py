"""bench speed, bench memory."""

import os
from pathlib import Path

import click

from xpm.cli.context import here
from xpm.cli.render import Console, size
from xpm.operations import bench as operations

_PEERS = ("llama.cpp", "ik_llama.cpp", "peft")


@click.group("bench")
def bench_command() -> None:
    """Measure the engine on this machine (needs the build extra; llama.cpp and the chart need the bench extra)."""


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
    """Compare with llama.cpp and Transformers + PEFT, on the same random weights, taking turns; write a table and a chart.

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
