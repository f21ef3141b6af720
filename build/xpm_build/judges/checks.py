"""The form of ``check``, which says how a row's answer is run: docs/training.md, "How an answer is run"."""

from functools import cache
from typing import Any

_NAME = {"type": "string", "minLength": 1}
_TYPE = {"type": "string", "pattern": r"^(int|str|bool|\{int\}|@\w+|\[(int|str|bool|@\w+)\])\??$"}
_LITERALS = {"type": "array", "items": {"type": ["string", "integer"]}}


def _tuple(*items: Any) -> dict[str, Any]:
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def _list(item: Any, *, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": required | optional, "required": list(required)}


_COLUMN = _tuple(_NAME, {"enum": ["key", "reference", "number", "text", "date"]})
_PROPERTIES = _list(_tuple(_NAME, {"type": "boolean"}))
_FIELDS = _list(_tuple(_NAME, _TYPE))
_RECORDS = _list(_tuple(_NAME, _FIELDS))
_CALLED = _object(
    {"name": _NAME, "params": _FIELDS, "returns": _TYPE, "tests": _list(_tuple({"type": "array"}, {}), least=1)},
    records=_RECORDS,
    named=_list(_NAME),
)
_DEFINED = _object({"records": {**_RECORDS, "minItems": 1}, "define": {"const": True}})
_CODE = {"if": {"required": ["define"], "properties": {"define": {"const": True}}}, "then": _DEFINED, "else": _CALLED}
_FORMS: dict[str, dict[str, Any]] = {
    "sql": _object({"tables": _list(_tuple(_NAME, _list(_COLUMN, least=1)), least=1), "literals": _LITERALS}),
    "neo4j": _object(
        {
            "nodes": _list(_tuple(_NAME, _PROPERTIES), least=1),
            "relationships": _list(_tuple(_NAME, _NAME, _NAME, _PROPERTIES)),
            "literals": _LITERALS,
        }
    ),
    "python": _CODE,
    "typescript": _CODE,
    "rust": _CODE,
}


def problem_of(language: str, check: Any) -> str:
    """Why answers in ``language`` cannot be run by ``check``, with the key's path; "" if they can."""
    if language not in _FORMS:
        return ""
    from jsonschema.exceptions import best_match

    if error := best_match(_validator(language).iter_errors(check)):
        return f"{error.json_path.replace('$', 'check', 1)}: {error.message[:200]}"
    return _disagreement(check) if "tests" in check else ""


def _disagreement(check: dict[str, Any]) -> str:
    known = {name for name, _ in check.get("records", [])}
    types = [*(type_ for _, type_ in check["params"]), check["returns"]]
    if unknown := sorted({type_.strip("[]?@") for type_ in types if "@" in type_} - known):
        return f"check.records has no {unknown[0]}"
    for number, (arguments, _) in enumerate(check["tests"]):
        if len(arguments) != len(check["params"]):
            return f"check.tests[{number}] has {len(arguments)} arguments for {len(check['params'])} parameters"
    return ""


@cache
def _validator(language: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(_FORMS[language])
