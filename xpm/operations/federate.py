"""Federated training, simulated: finds the base; the work is that of ``xpm_build`` (the ``build``
and ``federated`` extras)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.operations.expert import expert_base
from xpm.operations.extras import require_extra
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_build.federated.options import FederatedOptions
    from xpm_build.federated.run import FederatedReport


def require_flower() -> None:
    """Raise MissingExtraError if Flower is not installed."""
    require_extra(("flwr",), what="xpm federate", extra="federated")


def federate(
    environment: Environment,
    folder: Path,
    *,
    base: str,
    options: "FederatedOptions",
    progress: Progress,
    report: Callable[[str], None],
) -> "FederatedReport":
    """Make the adapter of the expert in ``folder`` by federated averaging."""
    require_flower()
    require_extra()
    from xpm_build.federated.run import federate as run

    with environment.home.alone_in(folder), expert_base(environment, folder, base, progress=progress) as model:
        return run(folder, model, options, report=report)
