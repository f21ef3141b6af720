"""scales: how strongly experts act that act together."""

from pathlib import Path

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.operations import scales as operations
from xpm.operations.extras import require_extra


@click.command("scales")
@click.argument("experts", nargs=-1, required=True, metavar="EXPERTS…")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("scales"),
    show_default=True,
    help="The folder that gets scales.json, and the cases of experts that bring none.",
)
@click.option("--base", default="", help="The base: a model's folder or GGUF file, or a base's name.")
@click.option(
    "--variant",
    type=click.Choice(["fp32", "fp16", "int8", "int4"]),
    default="fp32",
    show_default=True,
    help="The variant of the base that answers.",
)
@click.option("--cases", type=click.IntRange(1), default=50, show_default=True, help="The most cases of a circle.")
@click.option("--steps", type=click.IntRange(1, 10_000), default=40, show_default=True, help="Steps of the fit.")
@click.option("--no-execution", is_flag=True, help="Compare texts instead of running what was written.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def scales_command(
    console: Console,
    experts: tuple[str, ...],
    out: Path,
    base: str,
    variant: str,
    cases: int,
    steps: int,
    no_execution: bool,
    as_json: bool,
) -> None:
    """Learn how strongly experts should act that act all together, from rows that none was trained on.

    EXPERTS are folders, package files or installed experts, all LoRA and for one base. What came of it is told on cases
    that had no part in it: each expert alone, all at full strength, and all at these scales.

    Example: xpm scales expert-sql expert-json
    """
    require_extra()
    from xpm_build.composition.fit import FitSettings
    from xpm_build.composition.learn import SCALES, ScaleOptions

    options = ScaleOptions(variant=variant, cases=cases, execution=not no_execution, fit=FitSettings(steps=steps))
    found = operations.learn(here(), experts, out, base=base, options=options, progress=console, report=console.say)
    if as_json:
        console.json(found.to_dict())
        return
    rows = [
        (
            name,
            f"{found.scales[name]:g}",
            *(f"{part.figures.right:.1%}" for part in (each.alone, each.before, each.after)),
        )
        for name, each in found.experts.items()
    ]
    console.table(("expert", "scale", "alone", "all at 1", "all so"), rows)
    if found.scales != found.fitted:
        console.warn("what was fitted is no better on validation rows, so all stay at 1")
    console.say(f"see {out / SCALES}")
    console.say(
        "next: xpm run " + " ".join(f"-e {name} --scale {name}={each:g}" for name, each in found.scales.items())
    )
