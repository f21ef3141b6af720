"""Python: the answer is executed and its calls must return what the tests want."""

import ast
import dataclasses
import json
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpm_build.judges.code import CODE_CHECK, Fields, Record, records_of
from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.judges.workers import judge_in_workers


class Python:
    name, spoken, none, record_kind = "python", "Python", "None", "dataclass"

    @staticmethod
    def type(type_: str) -> str:
        if type_.endswith("?"):
            return f"{type_[:-1]} | None"
        if type_.startswith("["):
            return f"list[{Python.type(type_[1:-1])}]"
        return "dict[str, int]" if type_ == "{int}" else type_.lstrip("@")

    @staticmethod
    def header(name: str, params: Fields, returns: str) -> str:
        listed = ", ".join(f"{each}: {Python.type(type_)}" for each, type_ in params)
        return f"def {name}({listed}) -> {Python.type(returns)}"

    @staticmethod
    def function(header: str, body: str) -> str:
        return f"{header}:\n" + "\n".join(f"    {line}" for line in body.split("\n"))

    @staticmethod
    def shown(record: Record) -> str:
        return f"{record.name}({', '.join(f'{name}: {type_}' for name, type_ in record.fields)})"

    @staticmethod
    def define(record: Record) -> str:
        return f"@dataclass\nclass {record.name}:\n" + "\n".join(
            f"    {name}: {type_}" for name, type_ in record.fields
        )

    @staticmethod
    def literal(value: Any, type_: str, records: dict[str, Record]) -> str:
        if type_.startswith("[@"):
            return f"[{', '.join(Python.literal(each, type_[1:-1], records) for each in value)}]"
        if type_.startswith("@"):
            return f"{type_[1:]}(*{list(value)!r})"
        return repr(value)


def judge_python(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    return judge_in_workers(
        judge_one, [{"check": row["check"], "answer": answer} for row, answer in zip(rows, answers, strict=True)]
    )


def syntax_error(text: str) -> str:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return ""


def judge_one(job: dict[str, Any]) -> tuple[bool, bool, str]:
    """(right, parses, reason); runs in the sandbox."""
    check, answer = job["check"], job["answer"]
    if error := syntax_error(answer):
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


PYTHON = Language(name="python", judge=judge_python, check=CODE_CHECK, syntax_error=syntax_error, comment="# ")
