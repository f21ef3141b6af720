"""Python: the answer is executed and its calls must return what the tests want."""

import ast
import dataclasses
import json
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpm_build.domains.languages import Python, Record
from xpm_build.judges.verdict import Row, Verdict
from xpm_build.judges.workers import judge_in_workers


def judge_python(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    return judge_in_workers(
        "python", [{"check": row["check"], "answer": answer} for row, answer in zip(rows, answers, strict=True)]
    )


def judge_one(job: dict[str, Any]) -> tuple[bool, bool, str]:
    """(right, parses, reason); runs in the sandbox."""
    check, answer = job["check"], job["answer"]
    try:
        ast.parse(answer)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return False, False, f"does not parse: {error}"
    module = ModuleType("answer")
    sys.modules[module.__name__] = module  # where a dataclass looks up annotations that are texts
    namespace = module.__dict__
    namespace["dataclass"] = dataclasses.dataclass
    records = records_of(check)
    if not check.get("define"):
        for record in records.values():
            exec(Python.define(record), namespace)
    exec(answer, namespace)
    if check.get("define"):
        return _defines(next(iter(records.values())), namespace)
    function = namespace.get(check["name"])
    if not callable(function):
        return False, True, f"does not define {check['name']}"
    for arguments, wanted in check["tests"]:
        values = [
            eval(Python.literal(value, type_, records), namespace)
            for value, (_, type_) in zip(arguments, check["params"], strict=True)
        ]
        got = function(*values)
        if _text(got) != json.dumps(wanted, sort_keys=True):
            return False, True, f"{check['name']}({', '.join(map(repr, values))}) is {got!r}, not {wanted!r}"
    return True, True, ""


def records_of(check: dict[str, Any]) -> dict[str, Record]:
    return {
        name: Record(name=name, fields=tuple((field, type_) for field, type_ in fields))
        for name, fields in check.get("records", [])
    }


def _defines(record: Record, namespace: dict[str, Any]) -> tuple[bool, bool, str]:
    defined = namespace.get(record.name)
    if not dataclasses.is_dataclass(defined):
        return False, True, f"does not define a dataclass {record.name}"
    got = [
        (each.name, each.type if isinstance(each.type, str) else each.type.__name__)
        for each in dataclasses.fields(defined)
    ]
    return (True, True, "") if got == list(record.fields) else (False, True, f"has the fields {got}")


def _text(value: Any) -> str:
    def plain(each: Any) -> Any:
        if isinstance(each, list):
            return [plain(one) for one in each]
        return (
            list(dataclasses.astuple(each)) if dataclasses.is_dataclass(each) and not isinstance(each, type) else each
        )

    return json.dumps(plain(value), sort_keys=True)
