"""fuse: several experts as one."""

from pathlib import Path

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.cli.scale_type import SCALE
from xpm.errors import UsageError
from xpm.operations import fuse as operations
from xpm.operations.extras import require_extra


@click.command("fuse")
@click.argument("experts", nargs=-1, required=True, metavar="EXPERTS…")
@click.option("--out", type=click.Path(path_type=Path), help="The new folder of the fused expert; by default its name.")
@click.option("--name", default="", help="Its name; by default the parts', joined: expert-json-sql.")
@click.option("--version", default="0.1.0", show_default=True, help="Its version.")
@click.option("--base", default="", help="The base: a model's folder or GGUF file, or a base's name.")
@click.option("--rank", type=click.IntRange(1, 256), help="The rank of every linear; the error is what comes of it.")
@click.option(
    "--error",
    type=click.FloatRange(0, 1, max_open=True),
    help="The least rank that keeps every linear's update to this relative error, e.g. 0.1; without it nothing "
    "is lost.",
)
@click.option(
    "--scale",
    "scales",
    type=SCALE,
    multiple=True,
    metavar="EXPERT=SCALE",
    help="How strongly one of them acts, e.g. expert-sql=0.8; several times for several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def fuse_command(
    console: Console,
    experts: tuple[str, ...],
    out: Path | None,
    name: str,
    version: str,
    base: str,
    rank: int | None,
    error: float | None,
    scales: tuple[tuple[str, float], ...],
    as_json: bool,
) -> None:
    """Make one expert of several that act together, for `xpm build expert`: the sum of their updates, re-compressed.

    EXPERTS are folders, package files or installed experts, all LoRA or the like and for one base.

    Example: xpm fuse expert-sql expert-json --error 0.1 --out expert-json-sql
    """
    require_extra()
    from xpm_build.adapter.fuse import FuseOptions

    if rank is not None and error is not None:
        raise UsageError("--rank and --error were both given", hint="state one of them")
    options = FuseOptions(name=name, version=version, rank=rank, error=error or 0.0)
    found = operations.fuse(
        here(), experts, out, base=base, scales=dict(scales), options=options, progress=console, report=console.say
    )
    if as_json:
        console.json(found.to_dict())
        return
    ranks = " + ".join(map(str, found.ranks))
    worst = max(found.errors, key=lambda linear: found.errors[linear])
    console.say(
        f"{found.folder}: rank {found.rank} of {ranks}, largest relative error {found.errors[worst]:.2%} (at {worst})"
    )
    console.say(f"next: xpm build expert {found.folder} --base {base or 'BASE'}")
