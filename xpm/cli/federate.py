"""federate: an adapter by federated averaging, simulated."""

from pathlib import Path

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.operations import federate as operations
from xpm.operations.extras import require_extra


@click.command("federate")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path(), required=False)
@click.option(
    "--base", default="", help="The base: a model's folder or GGUF file, or the name of one made here or in an index."
)
@click.option("--clients", type=click.IntRange(2, 1000), default=10, show_default=True, help="Among how many.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often they are averaged.")
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="A client's steps in a round.")
@click.option(
    "--concentration",
    type=click.FloatRange(0, min_open=True),
    help="Spread every kind of row unevenly, by a Dirichlet distribution: 0.1 very, 100 hardly; by default evenly.",
)
@click.option("--freeze-a", is_flag=True, help="Train and average LoRA's B alone, so that the average is exact.")
@click.option(
    "--noise",
    type=click.FloatRange(0),
    default=0.0,
    help="Differential privacy for a client: the noise on a sum of updates, as a multiple of --clip.",
)
@click.option(
    "--clip", type=click.FloatRange(0, min_open=True), default=1.0, help="With --noise: the longest update, L2."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def federate_command(
    console: Console,
    folder: Path,
    base: str,
    clients: int,
    rounds: int,
    steps: int,
    concentration: float | None,
    freeze_a: bool,
    noise: float,
    clip: float,
    as_json: bool,
) -> None:
    """Train the expert as if its rows lay with several clients who share adapters alone, by Flower's federated
    averaging: all of them are simulated here. Needs the federated extra.

    Example: xpm federate --clients 10 --concentration 0.3
    """
    operations.require_flower()
    require_extra()
    from xpm_build.federated.options import DELTA, FederatedOptions

    options = FederatedOptions(
        clients=clients,
        rounds=rounds,
        steps=steps,
        concentration=concentration,
        freeze_a=freeze_a,
        noise=noise,
        clip=clip,
    )
    found = operations.federate(here(), folder, base=base, options=options, progress=console, report=console.say)
    if as_json:
        console.json(found.to_dict())
        return
    privacy = f", ε {found.epsilon:.2f} at δ {DELTA:g} for a client" if noise else ""
    console.say(
        f"validation loss {found.losses[0]:.4f} before, {found.losses[-1]:.4f} after {rounds} rounds of {clients} "
        f"clients{privacy}"
    )
    console.say("next: xpm validate")
