"""A publisher's own folder, used where it lies: what it holds now, and which folder it runs from."""

from dataclasses import dataclass
from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.sources import FromFolder
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest
from xpm_index.requirements import Requirement
from xpm_index.versions import Version

IN_PLACE = ".xpm"
SLOTS = "slots.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFor:
    """A base that the folder's expert was compiled for."""

    base: str
    base_digest: str
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCandidate:
    """The one version that a folder holds, for the resolver; nobody published it, so no publisher's name is on it."""

    name: str
    version: Version
    archives: tuple[BuiltFor, ...]
    requires: tuple[Requirement, ...]
    incompatible_with: tuple[Requirement, ...]
    optional: tuple[Requirement, ...]
    load_order: int
    tier: str
    max_chain: int
    kind: str = "expert"
    publisher: str = ""
    published_at: str = ""
    yanked: None = None


def candidate_in(folder: Path, source: FromFolder) -> FolderCandidate:
    """Read what a publisher's folder holds.

    Raises:
        NotFoundError: there is no manifest, or nothing compiled. UsageError: it does not say for which base.
    """
    compiled = compiled_in(folder)
    if not (compiled / MANIFEST).is_file():
        raise NotFoundError(f"{compiled} has no {MANIFEST}", hint="it is not the folder of an expert")
    manifest = Manifest.parse((compiled / MANIFEST).read_bytes())
    if not (compiled / SLOTS).is_file():
        raise NotFoundError(
            f"{folder} has no {SLOTS}",
            context="an editable expert runs as it was compiled there",
            hint=f"compile it with `xpm build expert {folder} --base NAME --in-place`",
        )
    if manifest.kind != "expert":
        raise UsageError(f"{source} holds no expert")
    builds = tuple(BuiltFor(base=each.name, base_digest=each.digest) for each in manifest.bases if each.digest)
    if not builds:
        raise UsageError(
            f"{folder} does not say which base it was compiled for", hint="compile it again with --in-place"
        )
    return FolderCandidate(
        name=manifest.name,
        version=manifest.version,
        archives=builds,
        requires=manifest.requires,
        incompatible_with=manifest.incompatible_with,
        optional=manifest.optional,
        load_order=manifest.load_order,
        tier=manifest.tier,
        max_chain=manifest.max_chain,
    )


def compiled_in(folder: Path) -> Path:
    """Where a publisher's folder holds the compiled package: where `xpm build expert --in-place` puts it, else itself."""
    return folder / IN_PLACE if (folder / IN_PLACE / SLOTS).is_file() else folder
