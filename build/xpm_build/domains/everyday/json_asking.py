"""How a request says which keys it wants: listed in words, or shown as a shape, a template, an
interface or a JSON Schema."""

import json
import random
from dataclasses import dataclass
from typing import Any

from xpm_build.domains.everyday.values import AS_STRING, CLOCK, ISO_DATE, Value, listed
from xpm_build.domains.speech import Speaker

_TYPES = {
    "string": ("string", "text", "str"),
    "integer": ("number", "integer", "int"),
    "number": ("number", "decimal", "float"),
}
_TYPES |= {"boolean": ("boolean", "true/false", "bool"), "array": ("list", "array", "array of values")}
_EMPTY: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}
_WRITTEN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key with the value it must get. ``formed``: the request states the form of it."""

    key: str
    value: Value
    formed: bool

    @property
    def data(self) -> Any:
        return self.value.formed if self.formed and self.value.hint else self.value.data


def want(key: str, value: Value, rng: random.Random) -> Wanted:
    """A key whose form is stated if it must be, now and then if it can be."""
    formed = bool(value.hint) and (value.needs_hint or rng.random() < 0.55)
    return Wanted(key, value, formed)


def answer(wanted: list[Wanted]) -> dict[str, Any]:
    return {each.key: each.data for each in wanted}


def listed_keys(wanted: list[Wanted], speaker: Speaker, *, below: bool = False) -> str:
    """Keys as a sentence lists them, some with their type or form; ``below``: there is room for a line each."""
    rng = speaker.rng
    quote = rng.choice(("", "", "", '"', "`"))
    typed = rng.choice((0.0, 0.0, 0.3, 1.0))
    told = []
    for each in wanted:
        text = f"{quote}{each.key}{quote}"
        note = _note(each, rng, typed)
        if note in (ISO_DATE, CLOCK):
            text += rng.choice((f" ({note})", f" as {note}")) if speaker.language == "en" else f" ({note})"
        elif note:
            text += f" ({note})"
        told.append(text)
    style = rng.random()
    if style < 0.5:
        return f"{speaker.say('noun')} {listed(told, speaker.language)}".strip()
    if style < 0.85 or not below:
        return f"{speaker.say('noun')} {', '.join(told)}".strip()
    return speaker.say("noun") + ":\n" + "\n".join(f"- {each}" for each in told)


def _note(each: Wanted, rng: random.Random, typed: float) -> str:
    """What stands in brackets behind a key."""
    if each.formed:
        return {AS_STRING: "string"}.get(each.value.hint, each.value.hint)
    if rng.random() >= typed:
        return ""
    if each.value.kind == "array":
        return rng.choice(("list", "array"))
    return rng.choice(_TYPES[each.value.kind][:2]) if each.value.kind != "string" else "string"


def shaped_keys(wanted: list[Wanted], rng: random.Random) -> str:
    """Keys as a shape: braces with names, types or empty values, or an interface."""
    forms = [_typed_shape, _typed_shape, _quoted_types, _interface]
    if not any(each.formed for each in wanted):
        forms += [_braces, _braces, _dots, _template]
    return rng.choice(forms)(wanted, rng)


def _braces(wanted: list[Wanted], rng: random.Random) -> str:
    quote = rng.choice(("", '"', '"'))
    return "{" + ", ".join(f"{quote}{each.key}{quote}" for each in wanted) + "}"


def _dots(wanted: list[Wanted], rng: random.Random) -> str:
    told = (f'"{each.key}": {"[...]" if each.value.kind == "array" else "..."}' for each in wanted)
    return "{" + ", ".join(told) + "}"


def _typed_shape(wanted: list[Wanted], rng: random.Random) -> str:
    quote = rng.choice(("", '"', '"'))
    return "{" + ", ".join(f"{quote}{each.key}{quote}: {_type(each)}" for each in wanted) + "}"


def _type(each: Wanted) -> str:
    if each.formed and each.value.hint != AS_STRING:
        return each.value.hint
    if each.value.kind == "array":
        return f"[{_item_type(each.value)}]"
    return _WRITTEN[each.value.kind]


def _item_type(value: Value) -> str:
    return "number" if value.data and isinstance(value.data[0], int) else "string"


def _quoted_types(wanted: list[Wanted], rng: random.Random) -> str:
    return json.dumps(
        {each.key: [_item_type(each.value)] if each.value.kind == "array" else _type(each) for each in wanted}
    )


def _template(wanted: list[Wanted], rng: random.Random) -> str:
    return json.dumps({each.key: _EMPTY[each.value.kind] for each in wanted})


def _interface(wanted: list[Wanted], rng: random.Random) -> str:
    lines = []
    for each in wanted:
        type_ = f"{_item_type(each.value)}[]" if each.value.kind == "array" else _WRITTEN[each.value.kind]
        note = f" // {each.value.hint}" if each.formed and each.value.hint != AS_STRING else ""
        lines.append(f"  {each.key}: {type_};{note}")
    return f"interface {rng.choice(('Item', 'Result', 'Data', 'Entry', 'Record'))} {{\n" + "\n".join(lines) + "\n}"


def schema_of(wanted: list[Wanted]) -> str:
    """A JSON Schema of the keys, in one line."""
    properties = {each.key: _schema(each) for each in wanted}
    return json.dumps({"type": "object", "properties": properties, "required": list(properties)})


def _schema(each: Wanted) -> dict[str, Any]:
    if each.value.kind == "array":
        return {"type": "array", "items": {"type": "integer" if _item_type(each.value) == "number" else "string"}}
    schema: dict[str, Any] = {"type": each.value.kind}
    if each.formed and each.value.hint == ISO_DATE:
        schema["format"] = "date"
    elif each.formed and each.value.hint == CLOCK:
        schema["description"] = CLOCK
    return schema
