"""Which cases an expert is judged on: the circles that its data was split into, or a file of cases."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from xpm_build.dataset.settings import ROWS, DatasetSettings, TaskData
from xpm_build.dataset.split import circle_file
from xpm_build.errors import EvaluationError
from xpm_build.rows import Row, completion_of, in_turn, prompt_of, read_sound_rows

WRITTEN_CASES = Path("tests/test_cases.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """Cases of one degree of strangeness. ``digest`` names them."""

    name: str
    rows: tuple[Row, ...]

    @property
    def digest(self) -> str:
        text = json.dumps([[prompt_of(row), completion_of(row)] for row in self.rows])
        return hashlib.sha256(text.encode()).hexdigest()


def read_circles(folder: Path, settings: DatasetSettings, *, file: Path | None, most: int) -> list[Circle]:
    """The circles of an expert's folder, each of at most ``most`` cases.

    Args:
        file: judge on the rows of this file alone.
    Raises:
        EvaluationError: there is nothing to judge on. DatasetError: a case has no question or
            no answer; names the line.
    """
    if file is not None:
        circle = _circle(file.stem, _cases(file), most)
        if not circle.rows:
            raise EvaluationError(
                f"{file} has no cases to judge on", hint="write a prompt and a completion in each line"
            )
        return [circle]
    data = (folder / settings.path).parent
    names = [ROWS, *settings.split.hold_out.shares]
    circles = [
        _circle(name, _cases(data / circle_file(name)), most) for name in names if (data / circle_file(name)).is_file()
    ]
    circles.append(_circle("tasks", _of_tasks(folder, settings.tasks), most))
    circles = [circle for circle in circles if circle.rows]
    if not circles and (folder / WRITTEN_CASES).is_file():
        circles.append(_circle("written", _cases(folder / WRITTEN_CASES), most))
    if not any(circle.rows for circle in circles):
        raise EvaluationError(
            f"{folder} has no cases to judge on",
            hint=f"split the data with `xpm dataset split`, or write {WRITTEN_CASES}",
        )
    return circles


def _circle(name: str, rows: Iterable[Row], most: int) -> Circle:
    return Circle(name=name, rows=tuple(islice(rows, most)))


def _of_tasks(folder: Path, tasks: Iterable[TaskData]) -> list[Row]:
    """A case of each task, then the next of each: no task is cut off. What has no family
    has its task's name for one."""
    return in_turn([{"family": task.name, **row} for row in _cases(folder / task.test)] for task in tasks if task.test)


def _cases(file: Path) -> Iterator[Row]:
    return read_sound_rows(file, asked=True)
