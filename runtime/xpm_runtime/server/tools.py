"""Functions that a model may call: told in the system's turn, written under a grammar, read back as they are written.

The form is the one that Qwen and Hermes were trained on: ``<tool_call>`` around a JSON object with ``name`` and
``arguments``. The grammar fixes every character of it but the arguments, so reading is exact and needs no JSON
parser that can stop half-way.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xpm_runtime import Grammar

MAX_TOOLS = 128
_MARK = "<tool_call>"
_OPEN = '<tool_call>\n{"name": "'
_MIDDLE = '", "arguments": '
_CLOSE = "}\n</tool_call>"
_TOLD = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
_AS_JSON_DUMPS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_NOTES = frozenset({"description", "title", "examples", "default", "$comment", "$schema", "$id", "deprecated"})
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"const", "enum", "required"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """``is_strict``: a schema that can't be held to in every detail is refused rather than
    followed as far as possible."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] | None = None
    is_strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """``mode`` says whether the answer may, must or must not be calls; ``only`` names the one that must be called."""

    tools: tuple[Tool, ...] = ()
    mode: Literal["none", "auto", "required"] = "auto"
    only: str | None = None
    is_parallel: bool = True

    @property
    def may_call(self) -> bool:
        return bool(self.tools) and self.mode != "none"

    @property
    def told(self) -> str:
        """What the system's turn says of them; "" if there are none."""
        if not self.may_call:
            return ""
        return _TOLD.format(tools="\n".join(json.dumps(_signature(each), ensure_ascii=False) for each in self.tools))

    @property
    def grammar(self) -> Grammar | None:
        """What an answer must match; None if it may not call anything.

        Where it may, it is any text without the mark, or some text, the mark and a call.
        """
        if not self.may_call:
            return None
        wanted = [each for each in self.tools if self.only in (None, each.name)]
        again = f'("\\n{_MARK}" body)*' if self.is_parallel else ""
        if self.mode == "required":
            rules = [f'start: "{_MARK}" body {again}']
        else:
            rules = [
                "start: text | calls",
                "text: TEXT",
                "TEXT: /(?s:.*)/",
                f"calls: head body {again}",
                f'head[lazy]: TEXT "{_MARK}"',
            ]
        rules.append("body: " + " | ".join(f"body_{number}" for number in range(len(wanted))))
        rules += [f"body_{number}: {_body(each)}" for number, each in enumerate(wanted)]
        return Grammar(kind="lark", text="%llguidance {}\n" + "\n".join(rules) + "\n")


NO_TOOLS = Tools()


def _signature(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema or {"type": "object"}}
    return {"type": "function", "function": function}


def _body(tool: Tool) -> str:
    before = _OPEN.removeprefix(_MARK) + tool.name + _MIDDLE
    schema = _without_notes(tool.schema or {"type": "object"})
    if isinstance(schema, dict):
        schema = {**schema, "x-guidance": {**_AS_JSON_DUMPS, "lenient": not tool.is_strict}}
    return f"{json.dumps(before)} %json {json.dumps(schema, ensure_ascii=False)} {json.dumps(_CLOSE)}"


def _without_notes(schema: Any) -> Any:
    """A schema without what is said for people: it only makes the grammar larger."""
    if isinstance(schema, list):
        return [_without_notes(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in _VALUES:
            kept[key] = value
        elif key in _MAPS and isinstance(value, Mapping):
            kept[key] = {name: _without_notes(each) for name, each in value.items()}
        elif key not in _NOTES:
            kept[key] = _without_notes(value)
    return kept


def written_call(name: str, arguments: str) -> str:
    """An earlier call as the model wrote it; ``arguments`` is JSON."""
    return f"{_OPEN}{name}{_MIDDLE}{arguments or '{}'}{_CLOSE}"


def written_result(content: str) -> str:
    """What a call came to, as a user's turn tells it."""
    return f"<tool_response>\n{content}\n</tool_response>"


def is_result(text: str) -> bool:
    """Whether a user's turn tells what a call came to."""
    return text.startswith("<tool_response>\n")


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """Some characters of a call's arguments."""

    number: int
    arguments: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    number: int


Piece = Text | CallBegun | CallPiece | CallEnded


class CallReader:
    """Tells text and calls apart while they are written. What may be the beginning of a mark is held back."""

    def __init__(self, tools: Tools) -> None:
        self._reads_calls = tools.may_call
        self._rest = ""
        self._is_inside = False
        self.num_calls = 0
        self.num_ended = 0

    def feed(self, text: str, *, final: bool = False) -> Iterator[Piece]:
        """The pieces that are certain now; all that is left if ``final``."""
        if not self._reads_calls:
            if text:
                yield Text(text)
            return
        self._rest += text
        while piece := self._next(final):
            yield piece

    def _next(self, final: bool) -> Piece | None:
        if self._is_inside:
            return self._next_inside(final)
        place = self._rest.find(_MARK)
        if place < 0:
            return self._text(0 if final else _overlap(self._rest, _MARK))
        if place > 0 and (found := self._text(len(self._rest) - place)):
            return found
        name, middle, rest = self._rest.removeprefix(_OPEN).partition(_MIDDLE)
        if not middle or not self._rest.startswith(_OPEN):
            return None
        self._rest, self._is_inside = rest, True
        self.num_calls += 1
        return CallBegun(self.num_calls - 1, name)

    def _next_inside(self, final: bool) -> Piece | None:
        number, place = self.num_calls - 1, self._rest.find(_CLOSE)
        if place == 0:
            self._rest, self._is_inside = self._rest.removeprefix(_CLOSE), False
            self.num_ended += 1
            return CallEnded(number)
        end = place if place > 0 else len(self._rest) - (0 if final else _overlap(self._rest, _CLOSE))
        piece, self._rest = self._rest[:end], self._rest[end:]
        return CallPiece(number, piece) if piece else None

    def _text(self, held: int) -> Text | None:
        """The text up to the last ``held`` characters; the line break between two calls is none."""
        end = len(self._rest) - held
        piece, self._rest = self._rest[:end], self._rest[end:]
        if self.num_calls and not piece.strip():
            return None
        return Text(piece) if piece else None


def _overlap(text: str, mark: str) -> int:
    """The length of the longest ending of ``text`` that begins ``mark``."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if mark.startswith(text[-n:])), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """``arguments`` is JSON, unless the answer ended before its call did."""

    name: str
    arguments: str


def read_answer(text: str, tools: Tools) -> tuple[str, tuple[Call, ...]]:
    """(the text of a whole answer, the calls in it)."""
    said: list[str] = []
    names: list[str] = []
    arguments: list[str] = []
    for piece in CallReader(tools).feed(text, final=True):
        match piece:
            case Text(part):
                said.append(part)
            case CallBegun(_, name):
                names.append(name)
                arguments.append("")
            case CallPiece(number, part):
                arguments[number] += part
    calls = (Call(name=name, arguments=part) for name, part in zip(names, arguments, strict=True))
    return "".join(said), tuple(calls)
