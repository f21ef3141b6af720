"""A task written as a function, with calls whose results its Python form computes."""

from typing import Any

from xpm_build.domains.functions.task import Author, Task
from xpm_build.judges.code import Fields, Record
from xpm_build.judges.python import Python

_NUM_TESTS = 4


def write(author: Author, name: str, params: Fields, task: Task) -> tuple[str, dict[str, object]]:
    """The function in the author's language, and its tests."""
    body = getattr(task.body, author.language.name)
    written = author.language.function(author.language.header(name, params, task.returns), body)
    return written, _check(name, params, task)


def _check(name: str, params: Fields, task: Task) -> dict[str, object]:
    """Calls and their results, which the Python form of the task computes."""
    namespace: dict[str, Any] = {}
    records = {task.record.name: task.record} if task.record else {}
    source = Python.function(Python.header(name, params, task.returns), task.body.python)
    preamble = "from dataclasses import dataclass\n" + "".join(f"{Python.define(each)}\n" for each in records.values())
    exec(preamble + source, namespace)
    tests = []
    for _ in range(_NUM_TESTS):
        arguments = task.draw_arguments()
        literals = [Python.literal(value, type_, records) for value, (_, type_) in zip(arguments, params, strict=True)]
        wanted = eval(f"{name}({', '.join(literals)})", namespace)
        tests.append([arguments, _plain(wanted, records)])
    return {
        "name": name,
        "params": [list(each) for each in params],
        "returns": task.returns,
        "records": [each.to_check() for each in records.values()],
        "tests": tests,
    }


def _plain(value: Any, records: dict[str, Record]) -> Any:
    if isinstance(value, list):
        return [_plain(each, records) for each in value]
    record = records.get(type(value).__name__)
    return [getattr(value, name) for name, _ in record.fields] if record else value
