"""What a prompt says of the tables or the graph that it asks about, and whether it asks for a change under a condition."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_NAME = r"[A-Za-z_]\w*"
_CREATE = re.compile(rf"create\s+table\s+(?:if\s+not\s+exists\s+)?[\"`\[]?({_NAME})[\"`\]]?\s*\(", re.IGNORECASE)
_LISTED = re.compile(rf"(?<!\w)({_NAME})\(")
_NODE = re.compile(rf"\(\w*:`?({_NAME})`?\s*(?:\{{([^{{}}]*)\}})?\s*\)")
_RELATIONSHIP = re.compile(rf"\[\w*:`?({_NAME})`?\s*(?:\{{([^{{}}]*)\}})?\s*\]")
_NO_COLUMNS = frozenset("primary foreign unique constraint check key index".split())
_BEGIN = re.compile(r"\b(?:sch\w*ma|tables?|gr\w*ph\w*)\s*:|\bcreate\s+table\b", re.IGNORECASE)
_CONDITION = re.compile(
    r"""(?<!\w)(?:where|wherever|whose|whom|who|which|when|whenever|with|without|if|unless|except|only|than|old(?:er)?|young(?:er)?
    |equal\w*|between|before|after|since|until|least|most|above|below|over|under|exceed\w*|contain\w*|start\w*|begin\w*|end(?:s|ing)
    |named|called|having|has|that\ ha\w*|such|so\ that|so\ long|as\ long|subject|case|provid\w*|condition|granted|given|assuming
    |suppos\w*|understanding|just|null|empty|missing|unknown|either|one\ of|any\ of|for\ those|selected|chosen|filtered
    |restricted|limited|property|exactly|different|text|not
    |deren|dessen|wenn|falls|wo|mit|ohne|über|unter|größer|kleiner|mehr|weniger|zwischen|leer
    |dont|où|lorsque|avec|sans|plus|moins|entre|vide|cuy\w*|donde|si|con|sin|mayor|menor|onde|com|sem)(?!\w)
    |[<>=]|'[^']+'|"[^"]+\"""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSchema:
    """Names as the prompt spells them: ``tables`` and their columns; ``labels`` and ``relationships`` and their properties.

    ``has_condition``: the request is for some of the rows, as far as one can tell.
    """

    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    relationships: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_condition: bool = True


def read_schema(prompt: str) -> PromptSchema:
    """From ``t(c, …)`` and CREATE TABLE, ``(:Label {p, …})`` and ``[:TYPE {p, …}]``, wherever they stand."""
    begin = _BEGIN.search(prompt)
    request = prompt[: begin.start()] if begin else prompt
    created = _tables(prompt, _CREATE)
    return PromptSchema(
        tables=created or _tables(prompt[begin.start() :] if begin else prompt, _LISTED),
        labels=_merged(_NODE.findall(prompt)),
        relationships=_merged(_RELATIONSHIP.findall(prompt)),
        has_condition=_CONDITION.search(request) is not None or len(re.findall(r"\d[\d.,-]*", request)) > 1,
    )


def _tables(text: str, opening: re.Pattern[str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for match in opening.finditer(text):
        columns = tuple(dict.fromkeys(filter(None, map(_column, _parts(text, match.end())))))
        if columns:
            found[match[1]] = columns
    return found


def _parts(text: str, start: int) -> Iterator[str]:
    """What commas part, up to where the bracket that was opened before ``start`` is closed."""
    depth, begin = 0, start
    for place in range(start, len(text)):
        character = text[place]
        if (character == "," and depth == 0) or (character == ")" and depth == 0):
            yield text[begin:place]
            begin = place + 1
            if character == ")":
                return
        depth += (character == "(") - (character == ")")


def _column(part: str) -> str:
    """The name that a definition begins with; "" if it defines no column."""
    match = re.match(rf"\s*[\"`\[]?({_NAME})", part)
    return match[1] if match and match[1].lower() not in _NO_COLUMNS else ""


def _merged(found: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    result: dict[str, tuple[str, ...]] = {}
    for name, properties in found:
        listed = (re.match(rf"\s*`?({_NAME})", part) for part in properties.split(","))
        result[name] = tuple(dict.fromkeys((*result.get(name, ()), *(each[1] for each in listed if each))))
    return result
