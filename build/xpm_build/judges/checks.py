"""The form of ``check``, which says how a row's answer is run: docs/reference/training.md, "How an answer is run"."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

NAME = {"type": "string", "minLength": 1}
LITERALS = {"type": "array", "items": {"type": ["string", "integer"]}}


def tuple_of(*items: Any) -> dict[str, Any]:
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def list_of(item: Any, *, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least}


def object_of(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": required | optional, "required": list(required)}


@dataclass(frozen=True, eq=False)
class CheckForm:
    """``schema`` is a JSON schema; ``disagreement`` says what in a check that has its form
    contradicts the rest, "" if nothing."""

    schema: dict[str, Any]
    disagreement: Callable[[dict[str, Any]], str] = lambda check: ""

    def problem_of(self, check: Any) -> str:
        """Why ``check`` says of no answer how it is run, with the key's path; "" if it does."""
        from jsonschema.exceptions import best_match

        if error := best_match(_validator(self).iter_errors(check)):
            return f"{error.json_path.replace('$', 'check', 1)}: {error.message[:200]}"
        return self.disagreement(check)


@cache
def _validator(form: CheckForm) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(form.schema)
