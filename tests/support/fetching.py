"""Archives to fetch, and what fetching them told."""

import hashlib
import os
import random
from pathlib import Path

from xpm.fetch import Wanted, fetch_archives
from xpm.progress import Silent
from xpm_index.entries import ArchiveRef

DATA = random.Random(1).randbytes(3_000_000)
OTHER = random.Random(2).randbytes(3_000_000)


class Recorder(Silent):
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.started, self.advanced, self.skipped, self.stopped = [], 0, 0, 0

    def start(self, what, total_bytes):
        self.started.append((what, total_bytes))

    def advance(self, num_bytes):
        self.advanced += num_bytes

    def skip(self, num_bytes):
        self.skipped += num_bytes

    def stop(self):
        self.stopped += 1


def isolate(monkeypatch, home: Path) -> Path:
    """No Git configuration and no proxy but the test's own."""
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return home


def store_login(home: Path, url: str, login: str) -> None:
    """Let Git know a login (``user:password``) for the host of ``url``."""
    (home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    with (home / ".git-credentials").open("a") as file:
        file.write("/".join(url.split("/")[:3]).replace("://", f"://{login}@") + "\n")


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wanted(
    *sources: str, data: bytes = DATA, what: str = "expert-a 1.0.0", blobs: dict[str, bytes] | None = None
) -> Wanted:
    ref = ArchiveRef(
        base="b",
        base_digest="sha256:" + "0" * 64,
        variant="",
        digest=f"sha256:{digest_of(data)}",
        size=len(data),
        sources=sources,
    )
    return Wanted(ref=ref, what=what, read_blob=(blobs or {}).get)


def fetch(folder: Path, *each: Wanted, progress=None, offline=False, **options) -> list[bytes]:
    """What ``fetch_archives`` brings, without pauses."""
    pauses: list[float] = []
    options.setdefault("sleep", pauses.append)
    paths = fetch_archives(each, folder, progress=progress or Silent(), offline=offline, **options)
    assert [path.name for path in paths] == [one.ref.digest.removeprefix("sha256:") for one in each]
    return [path.read_bytes() for path in paths]


def partial(folder: Path, data: bytes = DATA) -> Path:
    return folder / f"{digest_of(data)}.partial"


def leave_part(folder: Path, content: bytes, data: bytes = DATA) -> None:
    """What an earlier command that was cut off leaves."""
    folder.mkdir(exist_ok=True)
    partial(folder, data).write_bytes(content)


def told(error) -> str:
    """All that a caught error says."""
    return f"{error.value} {error.value.context} {error.value.hint}"
