"""Making experts: finds the base and keeps other processes away; the work is that of
``xpm_build`` (the ``build`` extra)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations.extras import require_extra
from xpm.operations.inspect import search
from xpm.operations.installed import find_installed
from xpm.operations.model_folder import model_folder
from xpm.operations.options import Options
from xpm.progress import Progress
from xpm.search import Query
from xpm_index.archive import MANIFEST
from xpm_index.archive import read_manifest as packed_manifest
from xpm_index.errors import XpmError
from xpm_index.manifest import Manifest
from xpm_index.names import spellings

if TYPE_CHECKING:
    from xpm_build.dataset.generate import GenerationReport
    from xpm_build.evaluation.conflicts import Matrix, MatrixOptions
    from xpm_build.evaluation.findings import Validation
    from xpm_build.evaluation.validate import ValidationOptions
    from xpm_build.manifest_check import Finding
    from xpm_build.training.report import TrainingReport

Report = Callable[[str], None]


def check(environment: Environment, folder: Path, *, publish: bool = False) -> "list[Finding]":
    """Everything that is wrong with an expert's folder; needs nothing of the build extra.

    Args:
        publish: look by the rules of publishing too, at what a package of the folder would hold.
    """
    from xpm_build.check import check as find

    findings = find(folder, bases=_known_bases(environment))
    return findings + _by_rules(environment, folder) if publish else findings


def _by_rules(environment: Environment, folder: Path) -> "list[Finding]":
    """The findings of publishing; none if the manifest can't be read, which is said already."""
    from xpm_build.publish_scan import PACKED, scan

    try:
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    except XpmError:
        return []
    return scan(folder, manifest, others=_known_names(environment, but=manifest.name), patterns=PACKED)


def _known_names(environment: Environment, *, but: str) -> list[str]:
    """The names that the indexes here have, under no spelling of one; none if they can't be read."""
    try:
        project = environment.project()
        with environment.locked(), Options(offline=True).indexes(environment, project, allow_stale=True) as indexes:
            return [each for each in indexes.all_names() if each not in spellings(but)]
    except XpmError:
        return []


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

    with environment.home.alone_in(folder), expert_base(environment, folder, base, progress=progress) as model:
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

    with environment.home.alone_in(folder), expert_base(environment, folder, base, progress=progress) as model:
        return judge(folder, model, options, report=report)


def conflicts(
    environment: Environment,
    experts: Sequence[str],
    out: Path,
    *,
    base: str,
    options: "MatrixOptions",
    progress: Progress,
    report: Report,
) -> "Matrix":
    """Judge experts beside each other.

    Args:
        experts: folders, package files, or names of what is installed here.
        base: as of ``validate``; by default that of the first expert.
    Raises:
        UsageError: there are fewer than two. NotFoundError: one is none of these.
    """
    require_extra()
    from xpm_build.evaluation.conflicts import conflict_matrix

    if len(experts) < 2:
        raise UsageError("a matrix needs two experts or more", hint="name them: --experts expert-sql,expert-json")
    places = [place_of(environment, each) for each in experts]
    base = base or base_of(places)
    with environment.home.alone_in(out), model_folder(environment, base, progress=progress) as model:
        return conflict_matrix(places, model, out, options, report=report)


def place_of(environment: Environment, expert: str) -> Path:
    """The folder or package file that is named, or the folder of the installed expert of that
    name; raises NotFoundError."""
    path = Path(expert)
    return path if path.exists() else find_installed(environment, expert).require_folder()


def base_of(experts: Sequence[Path]) -> str:
    """The name of the base that the first of some experts is for."""
    from xpm_build.manifest_file import read_manifest

    first = experts[0]
    manifest = read_manifest(first) if first.is_dir() else packed_manifest(first)
    return manifest.bases[0].name


def expert_base(
    environment: Environment, folder: Path, base: str, *, progress: Progress
) -> AbstractContextManager[Path]:
    """The Hugging Face folder of the base to use: the one named, or the manifest's."""
    from xpm_build.manifest_file import read_manifest

    return model_folder(environment, base or read_manifest(folder).bases[0].name, progress=progress)
