"""What a prompt says of the tables or the graph that it asks about, and whether it asks for a
change under a condition."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

_MAX_OPENINGS, _MAX_CHARACTERS = 64, 20_000  # of brackets, and of what is in one
_NAME = r"[A-Za-z_]\w*"
_CREATE = re.compile(rf"create\s+table\s+(?:if\s+not\s+exists\s+)?[\"`\[]?({_NAME})[\"`\]]?\s*\(", re.IGNORECASE)
_LISTED = re.compile(rf"(?<!\w)({_NAME})\(")
_SPACED = re.compile(
    rf"(?:^|[:;,)*\n-]|\b(?:given|using|assume|tables?|schema|database|and|with|in|for|has|have)\b)[^\S\n]*({_NAME})[ "
    r"]\(",
    re.IGNORECASE,
)
_DEFINITION = re.compile(
    rf"\s*{_NAME}(?:\s+(?:(?:big|small|tiny)?int\w{{0,4}}|serial|real|float|double|num\w{{0,4}}|dec\w{{0,4}}"
    r"|(?:long)?text|(?:n?var)?char\w{0,6}|str\w{0,4}|date\w{0,4}|time\w{0,5}|bool\w{0,4}|(?:primary |foreign )?key)"
    r"(?:\(\d+(?:,\s*\d+)?\))?(?:\s+\w+)*)?\s*",
    re.IGNORECASE,
)
_KEYED = re.compile(  # the first of its columns is a key: other lists are prose
    rf"(?:^|[:;.\n]|[*-][ ]|\b(?i:given|using|tables?|schema|database|with|in|for)\b)[ ]*({_NAME})(?::|[ ]-)[ ]+"
    rf"(\w*(?:I|(?<![A-Za-z])i)[dD])((?:,[ ]*{_NAME})+)",
    re.MULTILINE,
)
_TOLD = re.compile(
    rf"""\btables?\s+(?:called\s+|named\s+)?[\"`]?({_NAME})[\"`]?,?\s+(?:with|(?:that\s+|which\s+)?has|having)\s+
    (?:the\s+)?(?:(?:columns?|fields?)\s+)?
    ({_NAME}(?:,\s*{_NAME})*(?:,\s*{_NAME}|,?\s+and\s+(?!an?\b|the\b|tables?\b){_NAME}))""",
    re.IGNORECASE | re.VERBOSE,
)
_NODE = re.compile(rf"\(\w*:`?({_NAME})`?\s*(?:\{{([^{{}}]*)\}})?\s*\)")
_RELATIONSHIP = re.compile(rf"\[\w*:`?({_NAME})`?\s*(?:\{{([^{{}}]*)\}})?\s*\]")
_EDGE = re.compile(
    rf"\(\w*:`?({_NAME})`?[^()]*\)\s*(<?)-\s*\[\w*:`?({_NAME})`?[^\[\]]*\]\s*-(>?)\s*(?=\(\w*:`?({_NAME})`?)"
)
_GRAPH = re.compile(rf"{_NODE.pattern}|{_RELATIONSHIP.pattern}|<?-+>?")
_NO_COLUMNS = frozenset("primary foreign unique constraint check key index".split())
_BEGIN = re.compile(r"\b(?:sch\w*ma|tables?|gr\w*ph\w*)\s*:|\bcreate\s+table\b", re.IGNORECASE)
_DEFINING = re.compile(
    r"\b(?:create|define|drop|alter|build|add|need\w{0,3}|new|set up|make|rename|call|called|remove|delete"
    r"|lösche?|neue?|supprime\w{0,2}|ajoute\w{0,2}|crea|a[ñn]ad\w{0,3}|cria\w{0,3})\b",
    re.IGNORECASE,
)
_DEFINED = re.compile(
    r"\b(?:create|define|tables?|columns?|views?|index|tabelle|spalte|colonne|tabla|columna|tabela|coluna|tabella"
    r"|colonna)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"""(?<!\w)(?:where|wherever|whose|whom|who|which|when|whenever|with|without|if|unless|except|only|than
    |old(?:er)?|young(?:er)?
    |equal\w*|between|before|after|since|until|least|most|above|below|over|under|exceed\w*|contain\w*|start\w*|begin\w*
    |end(?:s|ing)
    |named|called|having|has|that\ ha\w*|such|so\ that|so\ long|as\ long|subject|case|provid\w*|condition
    |granted|given|assuming
    |suppos\w*|understanding|just|null|empty|missing|unknown|either|one\ of|any\ of|for\ those|selected|chosen|filtered
    |restricted|limited|property|exactly|different|text|not
    |deren|dessen|wenn|falls|wo|mit|ohne|über|unter|größer|kleiner|mehr|weniger|zwischen|leer
    |dont|où|lorsque|avec|sans|plus|moins|entre|vide|cuy\w*|donde|si|con|sin|mayor|menor|onde|com|sem)(?!\w)
    |[<>=]|'[^']+'|"[^"]+\"""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSchema:
    """Names as the prompt spells them: ``tables`` and their columns; ``labels`` and
    ``relationships`` and their properties;
    ``edges`` from label to label by relationship: (label, relationship, label).

    ``has_condition``: the request is for some of the rows, as far as one can tell. ``is_defining``: it may be for a
    change of the tables themselves. ``words``: the prompt without its graph.
    """

    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    relationships: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    edges: frozenset[tuple[str, str, str]] = frozenset()
    has_condition: bool = True
    is_defining: bool = False
    words: str = ""


def read_schema(prompt: str) -> PromptSchema:
    """From ``t(c, …)``, CREATE TABLE and "table t with columns c, …", ``(:Label {p, …})`` and ``[:TYPE {p,
    …}]``, wherever they stand."""
    begin = _BEGIN.search(prompt)
    listed = prompt[begin.start() :] if begin else prompt
    readings = ((prompt, _CREATE), (listed, _LISTED), (listed, _SPACED))
    tables, rest = next((found for text, opening in readings if (found := _tables(text, opening))[0]), ({}, listed))
    request = prompt[: begin.start()] if begin else ""
    if not request.strip():  # the schema comes first
        request = _GRAPH.sub(" ", rest)
    return PromptSchema(
        tables=tables or _told(listed, prompt),
        labels=_merged(_NODE.findall(prompt)),
        relationships=_merged(_RELATIONSHIP.findall(prompt)),
        edges=frozenset(_edges(prompt)),
        has_condition=_CONDITION.search(request) is not None or len(re.findall(r"\d[\d.,-]*", request)) > 1,
        is_defining=None not in (_DEFINING.search(request), _DEFINED.search(request)),
        words=_GRAPH.sub(" ", prompt),
    )


def _tables(text: str, opening: re.Pattern[str]) -> tuple[dict[str, tuple[str, ...]], str]:
    """(columns of each table, the text without its definitions)"""
    found, outside, end = {}, "", 0
    for match in islice(opening.finditer(text), _MAX_OPENINGS):
        parts = list(_parts(text, match.end()))
        if opening is _SPACED and not (len(parts) > 1 and all(map(_DEFINITION.fullmatch, parts))):
            continue  # a remark
        columns = tuple(dict.fromkeys(filter(None, map(_column, parts))))
        if columns:
            found[match[1]] = columns
            outside += text[end : match.start()]
            end = match.end() + sum(map(len, parts)) + len(parts)
    return found, outside + text[end:]


def _told(listed: str, prompt: str) -> dict[str, tuple[str, ...]]:
    found = {name: first + rest for name, first, rest in _KEYED.findall(listed)} or dict(_TOLD.findall(prompt))
    return {name: tuple(dict.fromkeys(re.split(r",?\s+and\s+|,\s*", columns))) for name, columns in found.items()}


def _parts(text: str, start: int) -> Iterator[str]:
    """What commas part, up to where the bracket that was opened before ``start`` is closed."""
    depth, begin = 0, start
    for place in range(start, min(len(text), start + _MAX_CHARACTERS)):
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


def _edges(text: str) -> Iterator[tuple[str, str, str]]:
    for left, back, relationship, ahead, right in islice(_EDGE.findall(text), _MAX_OPENINGS):
        if ahead and not back:
            yield left, relationship, right
        elif back and not ahead:
            yield right, relationship, left


def _merged(found: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    result: dict[str, tuple[str, ...]] = {}
    for name, properties in found:
        listed = (re.match(rf"\s*`?({_NAME})", part) for part in properties.split(","))
        result[name] = tuple(dict.fromkeys((*result.get(name, ()), *(each[1] for each in listed if each))))
    return result
