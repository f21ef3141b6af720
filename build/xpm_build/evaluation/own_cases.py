"""The cases that an expert brings, or that its manifest's recipe makes: a package holds none, and
most recipes make them anew."""

import json
import shutil
import tempfile
from pathlib import Path

from xpm_build.dataset.generate import generate
from xpm_build.dataset.settings import DatasetSettings
from xpm_build.dataset.split import VALID, circle_file, split_rows
from xpm_build.errors import EvaluationError
from xpm_build.evaluation.answers import Report
from xpm_build.evaluation.cases import read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.rows import Row, read_rows, read_sound_rows
from xpm_index.archive import extract_archive

_CASES = "cases"


def opened(expert: Path, scratch: Path) -> Path:
    """The folder of an expert, which is unpacked into ``scratch`` if it is a package file."""
    if expert.is_dir():
        return expert
    scratch.mkdir()
    extract_archive(expert, scratch)
    return scratch


def folder_with_cases(folder: Path, examiner: Examiner, out: Path, report: Report) -> Path:
    """The folder itself if it has circles, else one below ``out`` with those of its manifest's recipe, made once.

    Raises:
        EvaluationError: it has none, and none can be made here.
    """
    try:
        read_circles(folder, examiner.settings, file=None, most=1)
    except EvaluationError as error:
        name, generation = examiner.manifest.name, examiner.settings.generation
        stated = examiner.manifest.raw.get("training")
        if not (isinstance(stated, dict) and stated.get("dataset")) or generation.provider != "template":
            raise EvaluationError(
                f"{name} has no cases to judge on",
                context=f"{folder} brings none, and its manifest has no recipe that makes them here",
                hint="name the folder that it was made in",
            ) from error
        return _made_cases(name, examiner.settings, out, report)
    return folder


def validation_rows(folder: Path, settings: DatasetSettings) -> list[Row]:
    """The rows that chose the best checkpoint: neither trained on nor in a circle.

    Raises:
        EvaluationError: there are none. DatasetError: a row has no question or no answer; names the line.
    """
    data = (folder / settings.path).parent
    files = [data / VALID, *(folder / task.valid for task in settings.tasks if task.valid)]
    rows = [row for file in files if file.is_file() for row in read_sound_rows(file, asked=True)]
    if not rows:
        raise EvaluationError(
            f"{folder} has no validation rows", hint="hold some back: training.dataset.split.valid, `xpm dataset split`"
        )
    return rows


def _made_cases(name: str, settings: DatasetSettings, out: Path, report: Report) -> Path:
    """A folder below ``out`` with the test and validation parts of an expert's data; what it
    was trained on is not kept."""
    kept = out / _CASES / name
    if not (kept / settings.path).with_name(VALID).is_file():
        report(f"{name}: making its data as its manifest says, for the cases that were held back")
        with tempfile.TemporaryDirectory(prefix="xpm-cases-") as scratch:
            data = (Path(scratch) / settings.path).parent
            generate(settings.generation, Path(scratch) / settings.path)
            split = split_rows(read_rows(Path(scratch) / settings.path), settings.split, data)
            if any(split.overlap.values()):
                raise EvaluationError(f"cases of {name} are among its training rows", context=json.dumps(split.overlap))
            partial = kept.with_name(f".{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            (partial / settings.path).parent.mkdir(parents=True)
            for path in (*data.glob(circle_file("*")), data / VALID):
                shutil.copyfile(path, (partial / settings.path).parent / path.name)
            shutil.rmtree(kept, ignore_errors=True)
            partial.rename(kept)
    return kept
