"""From a package file to an index entry: sign it, and say what the index says of it."""

from pathlib import Path

from xpm_index.archive import MANIFEST, archive_name, read_files, write_archive
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import ManifestError, PackagingError
from xpm_index.integrity import sign_manifest
from xpm_index.keys import SigningKey
from xpm_index.layout import archive_path
from xpm_index.manifest import Manifest
from xpm_index.provenance import PROVENANCE, sign_provenance

_QUALITY_METRICS = ("benchmark_score", "overall", "execution_accuracy", "accuracy", "exact_match", "pass_rate", "f1")


def sign_archive(archive: Path, key: SigningKey, *, publisher: str, created_at: str) -> Manifest:
    """Sign a package file in place, and its provenance if it has some; the old file stays until
    the signed one is complete.

    Raises:
        PackagingError: it has no manifest. ArchiveError, ManifestError: it can't be read. AttestationError: its
            provenance is of other files.
    """
    files = read_files(archive)
    if MANIFEST not in files:
        raise PackagingError(f"{archive.name} has no {MANIFEST}")
    manifest = Manifest.parse(files[MANIFEST])
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    if PROVENANCE in files:
        files[PROVENANCE] = sign_provenance(files[PROVENANCE], manifest, digests, key)
        digests[PROVENANCE] = sha256_bytes(files[PROVENANCE])
    manifest = sign_manifest(manifest, digests, key=key, publisher=publisher, created_at=created_at)
    partial = archive.with_name(f".{archive.name}.partial")
    try:
        write_archive(partial, {**files, MANIFEST: manifest.to_bytes()})
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def path_in_index(manifest: Manifest) -> str:
    """Where an index keeps a package's archive if it holds it itself."""
    if manifest.base:
        filename = archive_name(manifest.name, manifest.version, variant=manifest.base.variant)
    else:
        filename = archive_name(manifest.name, manifest.version, base=manifest.bases[0].name)
    return archive_path(manifest.name, filename)


def archive_ref(
    archive: Path, manifest: Manifest, *, source: str | None = None, digest: str | None = None
) -> ArchiveRef:
    """What an entry says of one archive.

    Args:
        source: where it can be had; None if the index itself holds it.
        digest: the file's, if it was computed already.
    Raises:
        ManifestError: an expert's manifest does not name the one base it was built for.
    """
    if manifest.base:
        base, base_digest, variant = manifest.name, manifest.base.digest, manifest.base.variant
    else:
        ref = manifest.bases[0]
        if len(manifest.bases) != 1 or ref.digest is None:
            raise ManifestError(
                f"{archive.name} does not name the one base it is for", hint="build it with `xpm build expert`"
            )
        base, base_digest, variant = ref.name, ref.digest, ""
    return ArchiveRef(
        base=base,
        base_digest=base_digest,
        variant=variant,
        digest=digest or sha256_file(archive),
        size=archive.stat().st_size,
        sources=(source or f"blob:{path_in_index(manifest)}",),
    )


def entry_for(
    manifest: Manifest, archives: tuple[ArchiveRef, ...], *, publisher: str, key_id: str, published_at: str
) -> Entry:
    """The entry of one version; everything a resolver needs comes from the manifest."""
    return Entry(
        name=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        description=manifest.description,
        publisher=publisher,
        key_id=key_id,
        published_at=published_at,
        archives=archives,
        requires=manifest.requires,
        incompatible_with=manifest.incompatible_with,
        capabilities=manifest.capabilities,
        keywords=manifest.routing.keywords if manifest.kind == "expert" else (),
        optional=manifest.optional,
        load_order=manifest.load_order,
        tier=manifest.tier,
        max_chain=manifest.max_chain,
        tags=manifest.tags,
        quality=quality_of(manifest),
    )


def quality_of(manifest: Manifest) -> float | None:
    """The share of cases passed, 0 to 1, that the manifest's quality metrics claim; None if they claim none."""
    for name in _QUALITY_METRICS:
        value = manifest.quality_metrics.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
    return _least_of(manifest.quality_metrics.get("circles"))


def _least_of(circles: object) -> float | None:
    """The worst of the circles that `xpm validate` judged, each with its ``right`` in per cent."""
    found = (
        [each.get("right") for each in circles.values() if isinstance(each, dict)] if isinstance(circles, dict) else []
    )
    shares = [each / 100 for each in found if isinstance(each, int | float) and 0 <= each <= 100]
    return min(shares) if shares and len(shares) == len(found) else None
