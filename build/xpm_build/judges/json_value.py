"""JSON: right if it parses to the wanted value, types included, whatever the order of keys."""

import json
from collections.abc import Sequence
from typing import Any

from xpm_build.errors import EvaluationError
from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.rows import completion_of, prompt_of


def judge_json(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    """
    Raises:
        EvaluationError: a gold answer is not JSON; names its row.
    """
    golds = [_gold(number, row) for number, row in enumerate(rows, start=1)]
    return [_judge(gold, answer) for gold, answer in zip(golds, answers, strict=True)]


def _gold(number: int, row: Row) -> object:
    try:
        return _value(completion_of(row))
    except (ValueError, RecursionError) as error:
        raise EvaluationError(
            f"row {number}: the gold answer is not JSON",
            context=f"{error}; its prompt is {prompt_of(row)[:80]!r}",
            hint="find all such rows with `xpm dataset validate`",
        ) from error


def _judge(gold: object, answer: str) -> Verdict:
    try:
        right = _value(answer) == gold
    except (ValueError, RecursionError) as error:  # more digits or brackets than Python reads, too
        return Verdict(right=False, parses=False, reason=f"not JSON: {error}")
    return Verdict(right=right, parses=True, reason="" if right else "another value")


def _value(text: str) -> object:
    return _typed(json.loads(text))


def _typed(value: object) -> object:
    """A form in which ``1``, ``1.0`` and ``true`` differ."""
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return type(value).__name__, value


def syntax_error(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""


def _misfit(text: str, check: dict[str, Any]) -> str:
    """Why a value is not one of the schema that its row's ``check`` has."""
    schema = check.get("schema")
    if schema is None:
        return ""
    import jsonschema
    import referencing.exceptions

    if not isinstance(schema, dict | bool):
        return "its schema is no JSON schema"
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
        kind(schema, registry=referencing.Registry()).validate(json.loads(text))  # which fetches nothing from anywhere
    except (jsonschema.ValidationError, jsonschema.SchemaError) as error:
        return f"it does not fit its schema: {error.message}"
    except (referencing.exceptions.Unresolvable, RecursionError) as error:
        return f"its schema cannot be followed: {error}"
    return ""


JSON = Language(name="json", judge=judge_json, measure="equal values", syntax_error=syntax_error, misfit=_misfit)
