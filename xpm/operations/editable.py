"""A publisher's own folder, used where it lies: what it holds now, and which folder it runs from."""

from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.sources import FromFolder
from xpm_index.archive import MANIFEST
from xpm_index.entries import Build, Candidate
from xpm_index.manifest import Manifest

IN_PLACE = ".xpm"
SLOTS = "slots.safetensors"


def candidate_in(folder: Path, source: FromFolder) -> Candidate:
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
    builds = tuple(Build(base=each.name, base_digest=each.digest) for each in manifest.bases if each.digest)
    if not builds:
        raise UsageError(
            f"{folder} does not say which base it was compiled for", hint="compile it again with --in-place"
        )
    return Candidate(
        name=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        archives=builds,
        requires=manifest.requires,
        incompatible_with=manifest.incompatible_with,
        optional=manifest.optional,
        load_order=manifest.load_order,
        tier=manifest.tier,
        max_chain=manifest.max_chain,
    )


def compiled_in(folder: Path) -> Path:
    """Where a publisher's folder holds the compiled package: where `xpm build expert
    --in-place` puts it, else itself."""
    return folder / IN_PLACE if (folder / IN_PLACE / SLOTS).is_file() else folder
