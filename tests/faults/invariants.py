"""What must hold whatever happened, looked at with other code than that under test where that is possible."""

import hashlib
import json
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.faults.scenarios import World


def violations(
    world: World, before: dict[str, bytes | None], after: dict[str, bytes | None], *, quiet: bool
) -> list[str]:
    """Everything that is wrong with a sandbox after a fault.

    Args:
        before, after: xpm.toml and xpm.lock before the command, and after it undisturbed.
        quiet: whether the command reported success.
    """
    found = [*_store(world), *_index(world), *_keys(world)]
    now = files(world)
    for name, data in now.items():
        if data not in (before[name], after[name]):
            found.append(f"{name} is neither the old nor the new one")
    if quiet and now["xpm.lock"] is not None:
        found += [
            f"xpm.lock names {digest}, which is not stored"
            for digest in _needed(now["xpm.lock"])
            if not _folder(world, digest).is_dir()
        ]
    return found


def files(world: World) -> dict[str, bytes | None]:
    paths = {name: world.project / name for name in ("xpm.toml", "xpm.lock")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def _folder(world: World, digest: str) -> Path:
    hexdigits = digest.removeprefix("sha256:")
    return world.home / "store" / "sha256" / hexdigits[:2] / hexdigits


def _needed(lock: bytes) -> Iterator[str]:
    document = tomllib.loads(lock.decode())
    base = document["base"]["archive"][0]["base_digest"]
    for package in (document["base"], *document["expert"]):
        variant = document["variant"] if package["kind"] == "base" else ""
        yield from (a["digest"] for a in package["archive"] if a["base_digest"] == base and a["variant"] == variant)


def _store(world: World) -> Iterator[str]:
    """Every folder in the store holds exactly the files that its manifest lists, with the right digests, read-only."""
    for folder in (world.home / "store" / "sha256").glob("??/*"):
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            yield f"{folder.name[:12]} in the store has no manifest"
            continue
        listed = json.loads(manifest.read_bytes())["integrity"]["files"]
        present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if set(present) != {*listed, "manifest.json"}:
            yield f"{folder.name[:12]} in the store is incomplete"
        for name, digest in listed.items():
            if name in present and "sha256:" + hashlib.sha256(present[name].read_bytes()).hexdigest() != digest:
                yield f"{name} of {folder.name[:12]} in the store is damaged"
        if any(path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) for path in present.values()):
            yield f"{folder.name[:12]} in the store can be written"


def _index(world: World) -> Iterator[str]:
    """Git finds nothing wrong with the index, nor with the fetched copy of it."""
    for repository in (world.index, *(world.home / "indexes").glob("main-*.git")):
        fsck = ["git", "-C", str(repository), "fsck", "--strict", "--no-dangling", "--connectivity-only"]
        done = subprocess.run(fsck, capture_output=True, text=True)
        if done.returncode:
            yield f"git fsck of {repository.name}: {done.stderr[:200]}"


def _keys(world: World) -> Iterator[str]:
    for path in (world.home / "keys").glob("*.json"):
        if json.loads(path.read_bytes())["format"] != "xpm-key-1":
            yield f"{path.name} is damaged"
