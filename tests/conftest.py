"""What tests start from: a project that uses an index, and, made once because it is dear, a
tiny base with its adapters.

Of workers that run side by side each has one core for what computes with OpenMP: threads that wait for each other on
cores that are taken take several times as long.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported, and for the commands that tests run

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.projects import new_project
from tests.support.simulator import IndexSimulator
from xpm.environment import Environment

_LONG = ("test_kernels.py", "test_tutorial.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@dataclass(frozen=True, slots=True)
class TinyBase:
    """``source`` is the Hugging Face folder, ``graph`` the exported float32 base."""

    source: Path
    graph: Path


@dataclass(frozen=True, slots=True)
class TinyAdapter:
    """``peft`` is what PEFT saved, ``slots`` the compiled file."""

    name: str
    peft: Path
    slots: Path


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a grammar allows does not depend on how busy the machine is; tests of the limit
    itself set it, or are programs."""
    monkeypatch.setattr("xpm_runtime.constraint.COMPILE_S", 60.0)


@pytest.fixture
def index(tmp_path: Path) -> IndexSimulator:
    """An index with one expert; a test file that needs more has its own."""
    made = IndexSimulator(tmp_path)
    made.serve("expert-a", "1.0.0")
    return made


@pytest.fixture
def environment(tmp_path: Path, index: IndexSimulator) -> Environment:
    """A new project that uses ``index``."""
    return new_project(tmp_path, index)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> TinyBase:
    from tests.support import models
    from xpm_build.base.export import export_base

    folder = tmp_path_factory.mktemp("tiny")
    source = models.save_tiny_model(folder / "source")
    export_base(source, folder / "graph")
    return TinyBase(source, folder / "graph")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: TinyBase, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TinyAdapter]:
    """``tiny_adapter(kind, seed)``: a random adapter of a kind in ``models.CONFIGS``, made once."""
    from tests.support import models
    from xpm_build.adapter.compile import compile_adapter, save_slots
    from xpm_build.base.fingerprint import base_digest
    from xpm_build.base.model_slots import adaptable
    from xpm_runtime.adapter import SLOTS

    made: dict[tuple[str, int], TinyAdapter] = {}

    def make(kind: str, seed: int = 1) -> TinyAdapter:
        if (kind, seed) not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{seed}")
            peft = models.save_adapter(tiny_base.source, folder / "peft", models.CONFIGS[kind](), seed=seed)
            model = models.load(tiny_base.source)
            save_slots(compile_adapter(peft, adaptable(model)), folder / SLOTS, base_digest=base_digest(model))
            made[kind, seed] = TinyAdapter(f"{kind}-{seed}", peft, folder / SLOTS)
        return made[kind, seed]

    return make


@pytest.fixture
def tiny_engine(tiny_base: TinyBase) -> Iterator["object"]:
    from xpm_runtime import Engine

    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=4, context=256) as engine:
        yield engine
