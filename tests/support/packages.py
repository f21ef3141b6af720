"""Small packages, keys and indexes for tests of what reads them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from xpm_index.archive import MANIFEST, write_archive
from xpm_index.digests import sha256_bytes
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.index_writer import IndexWriter
from xpm_index.integrity import sign_manifest
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.metadata import now_utc
from xpm_index.metadata_editor import RoleKeys
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.tuf_keys import Keyring
from xpm_index.versions import Version

PUBLISHER = "acme"
SIGNED_AT = "2026-02-03T04:05:06Z"
VALID_FROM = "2026-01-01T00:00:00Z"
BASE_DIGEST = "sha256:" + hashlib.sha256(b"base").hexdigest()
SLOTS = save({"w": np.ones(3, np.float32)})
FILES: Mapping[str, bytes] = {"LICENSE": b"Apache-2.0\n", "slots.safetensors": bytes(range(48))}


def make_manifest(name: str = "expert-sql", version: str = "1.0.0", **values: Any) -> Manifest:
    """The smallest sensible manifest of an expert for the base ``xpm-tiny``."""
    base = {"name": "xpm-tiny", "sha256": BASE_DIGEST.removeprefix("sha256:"), "adapters": []}
    return Manifest({"name": name, "version": version, "base_models": [base], **values})


def sign_files(manifest: Manifest, files: Mapping[str, bytes], key: SigningKey) -> Manifest:
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    return sign_manifest(manifest, digests, key=key, publisher=PUBLISHER, created_at=SIGNED_AT)


def make_package(
    path: Path, key: SigningKey, *, files: Mapping[str, bytes] = FILES, manifest: Manifest | None = None
) -> Manifest:
    """Write a signed package to ``path`` and return its manifest."""
    signed = sign_files(manifest or make_manifest(), files, key)
    write_archive(path, {MANIFEST: signed.to_bytes(), **files})
    return signed


def make_entry(name: str = "expert-sql", version: str = "1.0.0", **values: Any) -> Entry:
    reference = ArchiveRef(
        base="xpm-tiny",
        base_digest=BASE_DIGEST,
        variant="",
        digest=sha256_bytes(f"{name} {version}".encode()),
        size=9,
        sources=(f"blob:archives/{name}/{name}-xpm-tiny.v{version}.expert",),
    )
    defaults: dict[str, Any] = {
        "name": name,
        "version": Version.parse(version),
        "kind": "expert",
        "description": "",
        "publisher": PUBLISHER,
        "key_id": "",
        "published_at": SIGNED_AT,
        "archives": (reference,),
    }
    return Entry(**(defaults | values))


def make_publisher(key: SigningKey, *more: SigningKey, namespace: str = PUBLISHER, **values: Any) -> Publisher:
    keys = tuple(PublisherKey(public=each.public, valid_from=VALID_FROM) for each in (key, *more))
    return Publisher(namespace=namespace, keys=keys, **values)


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """The maintainer's keys of one index."""

    root: SigningKey = field(default_factory=SigningKey.generate)
    targets: SigningKey = field(default_factory=SigningKey.generate)
    online: SigningKey = field(default_factory=SigningKey.generate)

    @property
    def roles(self) -> RoleKeys:
        return RoleKeys(root=[self.root.public], targets=self.targets.public, online=self.online.public)

    @property
    def ring(self) -> Keyring:
        return Keyring([self.root, self.targets, self.online])


def make_index(
    path: Path,
    key: SigningKey,
    *entries: Entry,
    name: str = "test",
    keys: IndexKeys | None = None,
    now: Callable[[], datetime] = now_utc,
    bin_bits: int = 1,
) -> IndexWriter:
    """A bare index repository at ``path`` with one publisher and ``entries``, one commit each."""
    keys = keys or IndexKeys()
    writer = IndexWriter.init(
        path, name=name, id="test-id", roles=keys.roles, keys=keys.ring, bin_bits=bin_bits, now=now
    )
    writer.put_publisher(make_publisher(key))
    for entry in entries:
        writer.add_entry(replace(entry, key_id=key.key_id))
    return writer
