"""Functions and records in whatever programming language: short names of types, and checks that
hold calls and their results.

Types have short names: ``int``, ``str``, ``bool``, ``[int]`` and ``[[int]]`` for lists, ``{int}`` for a map from text
to numbers, ``int?`` and ``str?`` for what may be missing, and ``@Name`` and ``[@Name]`` for records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from xpm_build.judges.checks import NAME, CheckForm, list_of, object_of, tuple_of

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    name: str
    fields: Fields

    def to_check(self) -> list[Any]:
        return [self.name, [list(each) for each in self.fields]]


def records_of(check: dict[str, Any]) -> dict[str, Record]:
    return {
        name: Record(name=name, fields=tuple((field, type_) for field, type_ in fields))
        for name, fields in check.get("records", [])
    }


def tree_sitter(module: str, grammar: str) -> Callable[[str], str]:
    """A check of syntax by a grammar of Tree-sitter, loaded when it is first asked: "" or what is wrong."""

    @cache
    def parser() -> Any:
        from tree_sitter import Language, Parser

        return Parser(Language(getattr(import_module(module), grammar)()))

    def syntax_error(text: str) -> str:
        return "a syntax error" if parser().parse(text.encode()).root_node.has_error else ""

    return syntax_error


def _disagreement(check: dict[str, Any]) -> str:
    if check.get("define"):
        return ""
    known = {name for name, _ in check.get("records", [])}
    types = [*(type_ for _, type_ in check["params"]), check["returns"]]
    if unknown := sorted({type_.strip("[]?@") for type_ in types if "@" in type_} - known):
        return f"check.records has no {unknown[0]}"
    for number, (arguments, _) in enumerate(check["tests"]):
        if len(arguments) != len(check["params"]):
            return f"check.tests[{number}] has {len(arguments)} arguments for {len(check['params'])} parameters"
    return ""


_TYPE = {"type": "string", "pattern": r"^(int|str|bool|\{int\}|@\w+|\[(int|str|bool|@\w+|\[(int|str|bool)\])\])\??$"}
_FIELDS = list_of(tuple_of(NAME, _TYPE))
_RECORDS = list_of(tuple_of(NAME, _FIELDS))
_CALLED = object_of(
    {"name": NAME, "params": _FIELDS, "returns": _TYPE, "tests": list_of(tuple_of({"type": "array"}, {}), least=1)},
    records=_RECORDS,
    named=list_of(NAME),
)
_DEFINED = object_of({"records": {**_RECORDS, "minItems": 1}, "define": {"const": True}})
_IS_DEFINITION = {"required": ["define"], "properties": {"define": {"const": True}}}
CODE_CHECK = CheckForm({"if": _IS_DEFINITION, "then": _DEFINED, "else": _CALLED}, _disagreement)
