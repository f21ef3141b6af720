"""Making experts: finds the base and keeps other processes away; the work is that of ``xpm_build`` (the ``build`` extra)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.extras import require_extra
from xpm.operations.inspect import search
from xpm.operations.model_folder import model_folder
from xpm.operations.options import Options
from xpm.progress import Progress
from xpm.search import Query
from xpm_index.errors import XpmError

if TYPE_CHECKING:
    from xpm_build.dataset.generate import GenerationReport
    from xpm_build.evaluation.findings import Validation
    from xpm_build.evaluation.validate import ValidationOptions
    from xpm_build.manifest_check import Finding
    from xpm_build.training.report import TrainingReport

Report = Callable[[str], None]


def check(environment: Environment, folder: Path) -> "list[Finding]":
    """Everything that is wrong with an expert's folder; needs nothing of the build extra."""
    from xpm_build.check import check as find

    return find(folder, bases=_known_bases(environment))


def _known_bases(environment: Environment) -> list[str]:
    """The bases that the indexes here have, as they were fetched; none if they can't be read."""
    try:
        return [each.name for each in search(environment, Query(kind="base", limit=10_000), Options(offline=True))]
    except XpmError:
        return []


def generate(
    home: Home, folder: Path, *, overrides: Mapping[str, Any], concurrency: int, report: Report
) -> "GenerationReport":
    """Make the data that the manifest asks for; ``overrides`` replace its settings."""
    from xpm_build.dataset import commands

    with home.alone_in(folder):
        return commands.generate(folder, overrides=overrides, concurrency=concurrency, report=report)


def train(
    environment: Environment, folder: Path, *, base: str, restart: bool, progress: Progress, report: Report
) -> "TrainingReport":
    """Train the expert in ``folder``."""
    require_extra()
    from xpm_build.training.run import train as run

    with environment.home.alone_in(folder), _expert_base(environment, folder, base, progress=progress) as model:
        return run(folder, model, restart=restart, report=report)


def validate(
    environment: Environment,
    folder: Path,
    *,
    base: str,
    options: "ValidationOptions",
    progress: Progress,
    report: Report,
) -> "Validation":
    """Judge the expert in ``folder``."""
    require_extra()
    from xpm_build.evaluation.validate import validate as judge

    with environment.home.alone_in(folder), _expert_base(environment, folder, base, progress=progress) as model:
        return judge(folder, model, options, report=report)


def _expert_base(
    environment: Environment, folder: Path, base: str, *, progress: Progress
) -> AbstractContextManager[Path]:
    """The Hugging Face folder of the base to use: the one named, or the manifest's."""
    from xpm_build.manifest_file import read_manifest

    return model_folder(environment, base or read_manifest(folder).bases[0].name, progress=progress)
