"""A grammar as it is given: its kind and its text. Nothing is compiled here, and nothing dear is imported.

``response_format`` is what OpenAI's API calls so, and says the same there and here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from xpm_runtime.errors import ConstraintError

GrammarKind = Literal["gbnf", "json_schema", "regex", "lark"]
KINDS: tuple[GrammarKind, ...] = get_args(GrammarKind)
MAX_CHARACTERS = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """``text`` is the grammar: GBNF (with a rule ``root``), a JSON Schema, a regular expression,
    or Lark (with ``start``)."""

    kind: GrammarKind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not isinstance(self.text, str):
            raise ConstraintError(f"a grammar is text of one of the kinds {', '.join(KINDS)}", context=f"{self.kind!r}")
        if len(self.text) > MAX_CHARACTERS:
            raise ConstraintError(
                f"the grammar has {len(self.text):,} characters, at most {MAX_CHARACTERS:,} are read",
                hint="make it smaller",
            )

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any] | bool) -> "Grammar":
        """JSON that is valid under a schema."""
        try:
            return cls(kind="json_schema", text=json.dumps(schema, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConstraintError("the JSON Schema is no JSON", context=str(error)[:200]) from error

    @classmethod
    def of_response_format(cls, said: Mapping[str, Any]) -> "Grammar | None":
        """What ``{"type": "json_schema", "json_schema": {"schema": …}}``, ``json_object`` or
        ``text`` asks for; None for text.

        Raises:
            ConstraintError: it has another form.
        """
        kind = said.get("type") if isinstance(said, Mapping) else None
        if kind == "text":
            return None
        if kind == "json_object":
            return cls.of_schema({"type": "object"})
        inner = said.get("json_schema") if kind == "json_schema" else None
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if isinstance(schema, Mapping | bool):
            return cls.of_schema(schema)
        raise ConstraintError(
            "the response_format is not understood",
            context=f"got {str(said)[:120]}",
            hint='write {"type": "json_schema", "json_schema": {"schema": …}}, {"type": "json_object"} or {"type": '
            '"text"}',
        )
