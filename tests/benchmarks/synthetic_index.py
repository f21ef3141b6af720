"""A synthetic index of any size: real entries, publishers and TUF metadata, written by `git fast-import`."""

import hashlib
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.packages import VALID_FROM, IndexKeys
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.index import IndexInfo
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import INDEX_JSON, entry_path, publisher_path
from xpm_index.metadata import now_utc
from xpm_index.metadata_editor import MetadataEditor
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.requirements import Requirement
from xpm_index.verified import newest_fingerprint
from xpm_index.versions import Version

TOPICS = """
sql json python typescript rust neo4j regex yaml latex legal medical finance poetry recipes chess maps music
""".split()
VERBS = "writes reads repairs explains translates extracts converts validates summarises ranks".split()
BASES = tuple(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in ("qwen3-0-6b", "xpm-tiny"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticIndex:
    path: Path
    fingerprint: str
    keys: IndexKeys
    publisher: SigningKey
    names: list[str]

    def add_commits(self, count: int, *, seed: int) -> None:
        """Publish ``count`` further versions, one commit each."""
        choose = random.Random(seed)
        writer = IndexWriter.open(self.path, keys=self.keys.ring)
        for number in range(count):
            name = choose.choice(self.names)
            entry = make_entry(name, f"{seed + 1}.{number}.0", random.Random(f"{seed}-{number}"), self.publisher)
            writer.add_entry(entry)
        writer.repo.close()


def make_entry(
    name: str, version: str, choose: random.Random, key: SigningKey, requires: tuple[str, ...] = ()
) -> Entry:
    topic = next((each for each in TOPICS if each in name), TOPICS[0])
    archives = tuple(
        ArchiveRef(
            base=base,
            base_digest=digest,
            variant="",
            digest=f"sha256:{choose.randbytes(32).hex()}",
            size=choose.randrange(5_000_000, 80_000_000),
            sources=(f"https://git.example.org/{name}/{version}/{base}.expert",),
        )
        for base, digest in zip(("qwen3-0-6b", "xpm-tiny"), BASES, strict=True)
    )
    return Entry(
        name=name,
        version=Version.parse(version),
        kind="expert",
        description=f"{choose.choice(VERBS)} {topic} and {choose.choice(VERBS)} {choose.choice(TOPICS)}",
        publisher="acme",
        key_id=key.key_id,
        published_at="2026-02-01T00:00:00Z",
        archives=archives,
        requires=tuple(map(Requirement.parse, requires)),
        capabilities=(topic,),
        keywords=(topic, choose.choice(TOPICS)),
    )


def make_index(path: Path, *, num_names: int, num_versions: int, bin_bits: int, seed: int = 7) -> SyntheticIndex:
    """One commit with everything; the packed repository lies at ``path``."""
    keys, publisher, choose = IndexKeys(), SigningKey.generate(), random.Random(seed)
    names = [f"expert-{TOPICS[number % len(TOPICS)]}-{number:06}" for number in range(num_names)]
    editor = MetadataEditor.create(keys.roles, bin_bits=bin_bits, now=now_utc())
    public = PublisherKey(public=publisher.public, valid_from=VALID_FROM)
    files = {
        INDEX_JSON: IndexInfo(id=f"synthetic-{seed}", name="synthetic", bin_bits=bin_bits).to_bytes(),
        publisher_path("acme"): Publisher(namespace="acme", keys=(public,)).to_bytes(),
    }

    def everything() -> Iterator[tuple[str, bytes]]:
        for number, name in enumerate(names):
            requires = tuple(
                f"{names[choose.randrange(number)]}@^1" for _ in range(choose.choice((0, 0, 0, 1, 2)) if number else 0)
            )
            lines = [
                make_entry(name, f"1.{version}.0", choose, publisher, requires).to_line()
                for version in range(num_versions)
            ]
            yield entry_path(name), b"\n".join(lines) + b"\n"

    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    with subprocess.Popen(["git", "-C", str(path), "fast-import", "--quiet"], stdin=subprocess.PIPE) as importer:
        pipe = importer.stdin
        assert pipe is not None
        pipe.write(b"commit refs/heads/main\ncommitter x <x@localhost> 1770000000 +0000\ndata 5\nstart\n")

        def put(name: str, data: bytes) -> None:
            pipe.write(f"M 100644 inline {name}\ndata {len(data)}\n".encode() + data + b"\n")

        for name, data in files.items():
            editor.set_file(name, data)
            put(name, data)
        for name, data in everything():
            editor.set_file(name, data)
            put(name, data)
        for name, data in editor.sign(keys.ring).items():
            put(name, data)
    writer = IndexWriter.open(path, keys=keys.ring)
    try:
        return SyntheticIndex(
            path=path, fingerprint=newest_fingerprint(writer.read), keys=keys, publisher=publisher, names=names
        )
    finally:
        writer.repo.close()


def describe(index: SyntheticIndex) -> str:
    size = sum(each.stat().st_size for each in index.path.rglob("*") if each.is_file())
    return json.dumps({"names": len(index.names), "repository_mb": round(size / 1e6, 1)})
