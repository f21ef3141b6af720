"""What is disturbed: the commands that change something, each from a prepared state."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.packages import SLOTS
from tests.support.simulator import IndexSimulator
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations import install as operations
from xpm.operations import publish
from xpm.project import Project
from xpm_index.archive import write_archive
from xpm_index.manifest import Manifest
from xpm_index.publishing import sign_archive
from xpm_index.requirements import Requirement


@dataclass(frozen=True, slots=True)
class World:
    """One state of a sandbox: an index ``main.git``, a ``home`` with the maintainer's keys, a ``project``."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def index(self) -> Path:
        return self.root / "main.git"

    @property
    def environment(self) -> Environment:
        return Environment.find(Home(self.home), self.project)


@dataclass(frozen=True, slots=True)
class Scenario:
    """``arguments`` may hold ``{root}``; ``prepare`` brings the common state to where the command starts."""

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[World, IndexSimulator], None] = lambda world, index: None


def _install(world: World, *texts: str) -> None:
    operations.install(world.environment, [Requirement.parse(text) for text in texts])


def _ready_to_publish(world: World, index: IndexSimulator) -> None:
    path = world.root / "expert-n.expert"
    base = {"name": "xpm-tiny", "sha256": "0" * 64}
    manifest = Manifest({"name": "expert-n", "version": "1.0.0", "description": "", "base_models": [base]})
    write_archive(path, {"manifest.json": manifest.to_bytes(), "slots.safetensors": SLOTS})
    sign_archive(path, index.key, publisher="acme", created_at="2026-03-01T00:00:00Z")


def _with_update(world: World, index: IndexSimulator) -> None:
    _install(world, "a", "b@^1")
    index.serve("expert-b", "1.2.0")


def _with_garbage(world: World, index: IndexSimulator) -> None:
    _install(world, "a")
    operations.uninstall(world.environment, ["a"])
    world.environment.history.path.unlink()
    world.environment.history.note()


def _with_empty_store(world: World, index: IndexSimulator) -> None:
    _install(world, "a")
    for path in world.environment.store.root.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(world.environment.store.root)


def _undone(world: World, index: IndexSimulator) -> None:
    from xpm.operations.undo import undo

    _install(world, "a")
    undo(world.environment)


SCENARIOS = (
    Scenario("install", ("install", "a", "b@^1")),
    Scenario("update", ("update",), _with_update),
    Scenario("uninstall", ("uninstall", "a"), lambda world, index: _install(world, "a", "b@^1")),
    Scenario("sync", ("sync", "--frozen"), _with_empty_store),
    Scenario("undo", ("undo",), lambda world, index: _install(world, "a")),
    Scenario("redo", ("redo",), _undone),
    Scenario("gc", ("gc", "--keep-undo", "0"), _with_garbage),
    Scenario("index-update", ("index", "update"), _with_update),
    Scenario("publish", ("publish", "{root}/expert-n.expert", "--index", "{root}/main.git"), _ready_to_publish),
    Scenario("yank", ("yank", "expert-b@1.0.0", "--index", "{root}/main.git", "--reason", "x")),
    Scenario("refresh", ("index", "refresh", "--index", "{root}/main.git")),
    Scenario("config", ("config", "set", "network.jobs", "8")),
)


def build(root: Path, scenario: Scenario) -> World:
    """The state from which a scenario's command starts, made at ``root``, which is where it must run, too."""
    root.mkdir()
    world, index = World(root), IndexSimulator(root)
    index.serve("expert-a", "1.0.0", requires=["expert-b@^1"])
    index.serve("expert-b", "1.0.0")
    index.serve("expert-b", "1.1.0")
    world.project.mkdir()
    Project(indexes={"main": index.source}).save(world.project)
    for name in ("root", "targets", "online"):
        getattr(index.index_keys, name).save(world.home / "keys" / f"main-{name}.json")
    index.key.save(world.home / "keys" / "acme.json")
    operations.lock(world.environment)  # fetches the indexes
    os.unlink(world.project / "xpm.lock")
    world.environment.history.path.unlink()
    scenario.prepare(world, index)
    index.writer.repo.close()
    subprocess.run(["sync", "-f", str(root)], check=False)
    assert publish.list_keys(Home(world.home))
    return world
