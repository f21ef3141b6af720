"""Which cases an expert is judged on: the circles that its data was split into, or a file of cases."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpm_build.dataset.rows import Row, completion_of, prompt_of, read_rows
from xpm_build.dataset.settings import DatasetSettings
from xpm_build.dataset.split import ROWS, circle_file
from xpm_build.errors import EvaluationError

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
        EvaluationError: there is nothing to judge on, or a case has no answer to compare with.
    """
    if file is not None:
        return [_circle(file.stem, [file], most)]
    data = (folder / settings.path).parent
    names = [ROWS, *settings.split.hold_out.shares]
    circles = [
        _circle(name, [data / circle_file(name)], most) for name in names if (data / circle_file(name)).is_file()
    ]
    tested = [folder / task.test for task in settings.tasks if task.test]
    if tested:
        circles.append(_circle("tasks", tested, most))
    if not circles and (folder / WRITTEN_CASES).is_file():
        circles.append(_circle("written", [folder / WRITTEN_CASES], most))
    circles = [circle for circle in circles if circle.rows]
    if not circles:
        raise EvaluationError(
            f"{folder} has no cases to judge on",
            hint=f"split the data with `xpm dataset split`, or write {WRITTEN_CASES}",
        )
    return circles


def _circle(name: str, files: Sequence[Path], most: int) -> Circle:
    rows = [row for file in files for row in read_rows(file)][:most]
    for number, row in enumerate(rows, start=1):
        if not prompt_of(row) or ("completion" not in row and "messages" not in row):
            raise EvaluationError(f"{files[0]}, row {number} has no prompt and completion")
    return Circle(name=name, rows=tuple(rows))
