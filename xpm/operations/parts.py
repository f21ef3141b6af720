"""A base or an expert as it runs: an unpacked folder, whether it is installed or named by a path."""

from dataclasses import dataclass
from pathlib import Path

from xpm.operations.installed import Installed
from xpm_index.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A base or an expert as it runs: an unpacked folder.

    ``manifest`` is None if there is none; ``digest`` is a verified archive's.
    """

    name: str
    label: str
    folder: Path
    manifest: Manifest | None
    digest: str = ""


def part_of(each: Installed) -> Part:
    """An installed package; raises NotFoundError if the store does not have it."""
    folder, package = each.require_folder(), each.package
    return Part(name=package.name, label=str(package), folder=folder, manifest=each.manifest(), digest=each.digest)
