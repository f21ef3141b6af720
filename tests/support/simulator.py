"""A world of publishers in a real index repository with real, tiny, signed packages."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tests.support.packages import IndexKeys
from xpm.project import IndexSource
from xpm_index.archive import write_archive
from xpm_index.entries import Entry
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.metadata import now_utc
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive
from xpm_index.verified import newest_fingerprint

BASE_DIGEST = "sha256:" + "ba5e" * 16
LONG_AGO = "2026-01-01T00:00:00Z"
PUBLISHED = "2026-02-01T00:00:00Z"


class IndexSimulator:
    """``index.serve("expert-a", "1.0.0", requires=["expert-b@^1"])`` publishes a package; there
    is a base named xpm-tiny."""

    def __init__(
        self,
        root: Path,
        *,
        name: str = "main",
        publisher: str = "acme",
        with_base: bool = True,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self.path = root / f"{name}.git"
        self.publisher = publisher
        self.key = SigningKey.generate()
        self.index_keys = IndexKeys()
        self.archives: dict[str, Path] = {}
        self._root = root
        self.writer = IndexWriter.init(
            self.path,
            name=name,
            id=f"id-of-{name}",
            roles=self.index_keys.roles,
            keys=self.index_keys.ring,
            bin_bits=1,
            now=now,
        )
        self.fingerprint = newest_fingerprint(self.writer.read)
        self.add_publisher(self.key)
        if with_base:
            self.serve("xpm-tiny", "9.0.0", base=None)

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    @property
    def source(self) -> IndexSource:
        return IndexSource(url=self.url, fingerprint=self.fingerprint)

    def add_publisher(self, key: SigningKey) -> None:
        keys = (PublisherKey(public=key.public, valid_from=LONG_AGO),)
        self.writer.put_publisher(Publisher(namespace=self.publisher, keys=keys))

    def serve(
        self,
        name: str,
        version: str,
        *,
        requires: list[str] | None = None,
        base: str | None = BASE_DIGEST,
        keywords=(),
        incompatible: list[str] | None = None,
        published: str = PUBLISHED,
        description: str = "",
        tags=(),
    ) -> Entry:
        """Build, sign and publish one package; ``base`` None makes it a base itself."""
        document = {
            "schema_version": "2.0",
            "name": name,
            "version": version,
            "description": description or f"about {name}",
            "tags": list(tags),
        }
        if base is None:
            info = {"digest": BASE_DIGEST, "variant": "fp32", "architecture": "qwen3"}
            document |= {"kind": "base", "base": info}
        else:
            document |= {
                "kind": "expert",
                "base_models": [{"name": "xpm-tiny", "sha256": base.removeprefix("sha256:")}],
                "constraints": {"requires": requires or [], "incompatible_with": incompatible or []},
                "routing": {"keywords": list(keywords)},
            }
        manifest = Manifest(document)
        archive = self._root / f"{name}-{version}{'.base' if base is None else '.expert'}"
        write_archive(
            archive, {"manifest.json": manifest.to_bytes(), "slots.safetensors": f"{name} {version}".encode()}
        )
        signed = sign_archive(archive, self.key, publisher=self.publisher, created_at=published)
        self.archives[f"{name} {version}"] = archive
        ref = archive_ref(archive, signed)
        entry = entry_for(signed, (ref,), publisher=self.publisher, key_id=self.key.key_id, published_at=published)
        self.writer.add_entry(entry, blobs={path_in_index(signed): archive.read_bytes()})
        return entry
