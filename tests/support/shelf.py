"""An index made in one commit, without metadata of its own, of packages told by their
manifests: for what shows an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.packages import PUBLISHER, SIGNED_AT, make_publisher, sign_files
from xpm_index.archive import MANIFEST, write_archive
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Yanked
from xpm_index.git import BareRepo
from xpm_index.index import IndexInfo, IndexSnapshot
from xpm_index.keys import SigningKey
from xpm_index.layout import INDEX_JSON, entry_path, publisher_path, review_path
from xpm_index.manifest import Manifest
from xpm_index.provenance import PROVENANCE, Provenance, built_files, sign_provenance
from xpm_index.publishing import archive_ref, entry_for, path_in_index
from xpm_index.reviews import Review, ReviewFile, sign_review
from xpm_index.versions import Version

BASE_HEX = "ba5e" * 16
KEY, REVIEWER = SigningKey.generate(), SigningKey.generate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """One version. ``more`` is put into its manifest, ``entry`` takes the place of what the entry would say.

    ``provenance`` goes along as a build would have it, of the package's files.
    """

    name: str
    version: str = "1.0.0"
    more: Mapping[str, Any] = field(default_factory=dict)
    readme: str = ""
    yanked: Yanked | None = None
    published_at: str = SIGNED_AT
    source: str | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None


def make_shelf(
    path: Path, packages: Sequence[Shelved], *, reviews: Mapping[str, str] | None = None, **publisher: Any
) -> IndexSnapshot:
    """A snapshot of a new index, or of the next commit of the one at ``path``.

    Args:
        reviews: name → what somebody says of its version 1.0.0; that of version 2.0.0 was taken down for the same text.
    """
    repo = BareRepo.open(path) if path.exists() else BareRepo.init(path)
    files = {
        INDEX_JSON: IndexInfo(id="shelf", name="shelf").to_bytes(),
        publisher_path(PUBLISHER): make_publisher(KEY, **publisher).to_bytes(),
    }
    for package in packages:
        entry, archives = _published(package, path.parent)
        files |= archives
        files[entry_path(package.name)] = files.get(entry_path(package.name), b"") + entry + b"\n"
    for name, text in (reviews or {}).items():
        files[review_path(name, REVIEWER.key_id)] = _reviews(name, text).to_bytes()
    commit = repo.commit_files(files, message="shelf", author="x <x@localhost>", when=1_770_000_000)
    return IndexSnapshot.enclosed(repo, commit)


def _reviews(name: str, text: str) -> ReviewFile:
    file = ReviewFile(name=name, key=REVIEWER.public)
    for version in ("1.0.0", "2.0.0"):
        used = (" ".join(text.split())[:100],)
        review = Review(version=Version.parse(version), stars=4, text=text, written_at=SIGNED_AT, used_with=used)
        file = file.with_review(sign_review(review, name=name, key=REVIEWER))
    return file.without(Version.parse("2.0.0"), reason=text, at=SIGNED_AT)


def _signed(provenance: Provenance, manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    built = replace(provenance, files=built_files(manifest, digests))
    return sign_provenance(built.to_bytes(), manifest, digests, KEY)


def _published(package: Shelved, scratch: Path) -> tuple[bytes, dict[str, bytes]]:
    document = {"name": package.name, "version": package.version, **package.more}
    if package.more.get("kind") == "base":
        document["base"] = {"digest": f"sha256:{BASE_HEX}", "variant": "fp32", "architecture": "qwen3"}
    else:
        document["base_models"] = [{"name": "xpm-tiny", "sha256": BASE_HEX}]
    files = {"README.md": package.readme.encode("utf-8", "replace")} if package.readme else {"LICENSE": b"x"}
    if package.provenance is not None:
        files |= {PROVENANCE: _signed(package.provenance, Manifest(document), files)}
    manifest = sign_files(Manifest(document), files, KEY)
    archive = scratch / f"shelved.{manifest.kind}"
    write_archive(archive, {MANIFEST: manifest.to_bytes(), **files})
    ref = archive_ref(archive, manifest, source=package.source)
    entry = entry_for(manifest, (ref,), publisher=PUBLISHER, key_id=KEY.key_id, published_at=package.published_at)
    entry = replace(entry, yanked=package.yanked, **package.entry)
    return entry.to_line(), {} if package.source else {path_in_index(manifest): archive.read_bytes()}
