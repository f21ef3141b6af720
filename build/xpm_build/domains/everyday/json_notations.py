"""JSON from other notations: lines of keys and values, YAML, XML, INI, query strings, headers, CSV and other tables."""

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

from xpm_build.domains.everyday.json_extract import Made
from xpm_build.domains.everyday.records import Kind, Record, camel, draw_kind, draw_record, plain
from xpm_build.domains.everyday.values import draw_value, pool
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Row = dict[str, Any]


def notation(words: Vocabulary, speaker: Speaker) -> Made:
    """One record in a notation other than JSON."""
    rng = words.rng
    make = rng.choice(
        (_lines, _lines, _yaml, _yaml, _xml, _query, _ini, _headers, _labels, _environment, _toml, _dotted)
    )
    return make(words, speaker)


def _row(words: Vocabulary, speaker: Speaker, *, lists: bool = False) -> Row:
    """A record as plain data: numbers, booleans and texts that are written as they are."""
    kind = plain(draw_kind(words, speaker.language), without=() if lists else ("list",))
    record = draw_record(kind, words.rng)
    row = {
        field.key: value.data
        for field, value in zip(kind.fields, record.values, strict=True)
        if not (value.kind == "array" and not lists) and not _is_numeral(value.data)
    }
    names = list(row)
    kept = sorted(words.rng.sample(range(len(names)), words.rng.randint(min(2, len(names)), len(names))))
    return {names[number]: row[names[number]] for number in kept}


def _is_numeral(data: Any) -> bool:
    """A text that looks like a number or boolean, of which nobody could tell which it is."""
    return isinstance(data, str) and (data.replace(".", "", 1).isdigit() or data in ("true", "false"))


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _asked(form: str, text: str, row: Any, speaker: Speaker, *, strings: float = 0.25, ending: str = "") -> Made:
    """The request, with typed values or, where that is said, with texts alone."""
    if speaker.rng.random() < strings:
        return speaker.say("notation", form=form, text=text, types=speaker.say("untyped") + ending), _as_texts(row)
    return speaker.say("notation", form=form, text=text, types=speaker.say("typed") + ending), row


def _as_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_texts(each) for key, each in value.items()}
    return [_as_texts(each) for each in value] if isinstance(value, list) else _told(value)


def _lines(words: Vocabulary, speaker: Speaker) -> Made:
    row, rng = _row(words, speaker), words.rng
    between = rng.choice((": ", "=", " = ", " -> ", ": "))
    text = rng.choice(("\n", "\n", "; ", ", ", " | ")).join(
        f"{key}{between}{_told(value)}" for key, value in row.items()
    )
    if any("," in _told(value) for value in row.values()):
        text = "\n".join(f"{key}{between}{_told(value)}" for key, value in row.items())
    form = rng.choice(("key-value text", "list of keys and values", "key/value pairs", "text", "config"))
    return _asked(form, text, row, speaker)


def _yaml(words: Vocabulary, speaker: Speaker) -> Made:
    row, rng = _row(words, speaker, lists=True), words.rng
    lines = []
    for key, value in row.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"  - {each}" for each in value)]
        else:
            lines.append(f"{key}: {_yaml_scalar(value)}")
    found: Any = row
    if rng.random() < 0.3:
        name = rng.choice(("config", "data", "entry", "settings", "item"))
        lines, found = [f"{name}:", *(f"  {line}" for line in lines)], {name: row}
    return _asked("YAML", "\n".join(lines), found, speaker, strings=0.0)


def _yaml_scalar(value: Any) -> str:
    return (
        f'"{value}"' if isinstance(value, str) and (":" in value or "#" in value or value[:1] in "+-") else _told(value)
    )


def _toml(words: Vocabulary, speaker: Speaker) -> Made:
    row = _row(words, speaker)
    lines = [
        f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {_told(value)}" for key, value in row.items()
    ]
    return _asked("TOML", "\n".join(lines), row, speaker, strings=0.0)


def _xml(words: Vocabulary, speaker: Speaker) -> Made:
    row, rng = _row(words, speaker), words.rng
    tag = rng.choice(("item", "entry", "record", "row", "element"))
    lines = [f"<{key}>{_told(value)}</{key}>" for key, value in row.items()]
    text = (
        f"<{tag}>{''.join(lines)}</{tag}>"
        if rng.random() < 0.5
        else f"<{tag}>\n  " + "\n  ".join(lines) + f"\n</{tag}>"
    )
    ending = rng.choice((f", without the outer {tag}", f" (leave {tag} out)"))
    if rng.random() < 0.4:
        return _asked(
            "XML", text, {tag: row}, speaker, ending=rng.choice((f", under the key {tag}", f" (top key {tag})"))
        )
    return _asked("XML", text, row, speaker, ending=ending)


def _query(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    row = _row(words, speaker) | ({"page": rng.randint(1, 30)} if rng.random() < 0.4 else {})
    text = rng.choice(("", "?")) + "&".join(
        f"{key}={quote_plus(_told(value), safe='@:/')}" for key, value in row.items()
    )
    return _asked("query string", text, row, speaker, strings=0.6)


def _ini(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    names = rng.sample(("server", "client", "user", "paths", "mail", "default", "report", "display"), rng.randint(1, 2))
    rows = {name: _row(words, speaker) for name in names}
    lines = [
        line
        for name, row in rows.items()
        for line in (f"[{name}]", *(f"{key}={_told(value)}" for key, value in row.items()))
    ]
    ending = speaker.say("section") if speaker.language == "en" else ""
    return _asked("INI", "\n".join(lines), rows, speaker, strings=0.6, ending=ending)


def _headers(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    known = {
        "Content-Type": ("application/json", "text/plain", "image/png"),
        "Cache-Control": ("no-cache", "max-age=3600"),
        "User-Agent": ("curl/8.4", "Mozilla/5.0"),
        "Content-Length": ("512", "2048", "77"),
        "Accept-Language": ("en", "de", "fr"),
        "Server": ("nginx", "Apache"),
        "Connection": ("close", "keep-alive"),
        "Referer": (draw_value("url", rng).said,),
    }
    row = {name: rng.choice(known[name]) for name in rng.sample(list(known), rng.randint(2, 4))}
    text = "\n".join(f"{name}: {value}" for name, value in row.items())
    form = rng.choice(("HTTP headers", "response headers", "request headers"))
    return speaker.say("notation", form=form, text=text, types=speaker.say("untyped")), row


def _labels(words: Vocabulary, speaker: Speaker) -> Made:
    """Labels such as ``Unit price:`` whose spelling as keys the request states."""
    rng, row = words.rng, _row(words, speaker)
    labels = {key: "".join(f"_{each.lower()}" if each.isupper() else each for each in key) for key in row}
    text = "\n".join(
        f"{label.replace('_', ' ').capitalize()}: {_told(value)}"
        for label, value in zip(labels.values(), row.values(), strict=True)
    )
    style = rng.choice(("snake", "camel"))
    found = {camel(labels[key]) if style == "camel" else labels[key]: value for key, value in row.items()}
    return _asked(
        rng.choice(("form", "text", "sheet", "list")), text, found, speaker, strings=0.1, ending=speaker.say(style)
    )


def _environment(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    known = {
        "PORT": rng.randint(1000, 9999),
        "HOST": rng.choice(("localhost", "0.0.0.0", "db.internal")),
        "DEBUG": rng.random() < 0.5,
        "LOG_LEVEL": rng.choice(("info", "debug", "warning")),
        "WORKERS": rng.randint(1, 16),
        "TIMEOUT": rng.choice((5, 10, 30, 60)),
        "REGION": rng.choice(("eu-west-1", "us-east-2")),
        "CACHE_SIZE": rng.randint(16, 512),
    }
    names = rng.sample(list(known), rng.randint(2, 5))
    lines = [f"{rng.choice(('', '', 'export '))}{name}={_told(known[name])}" for name in names]
    return _asked(".env file", "\n".join(lines), {name: known[name] for name in names}, speaker)


def _dotted(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    names = rng.sample(("server", "client", "user", "mail", "report", "display"), 2)
    rows = {name: dict(list(_row(words, speaker).items())[:2]) for name in names}
    lines = [f"{name}.{key}={_told(value)}" for name, row in rows.items() for key, value in row.items()]
    ending = rng.choice((", the dots become nested objects", " (dots mean nesting)", ", nested by the dots"))
    return _asked("properties file", "\n".join(lines), rows, speaker, ending=ending)


def table(words: Vocabulary, speaker: Speaker) -> Made:
    """Rows of one kind of record in CSV, Markdown or columns."""
    rng = words.rng
    kind = plain(draw_kind(words, speaker.language), without=("list",))
    fields = [field for field in kind.fields if not field.type.startswith(("list", "digits"))]
    fields = rng.sample(fields, rng.randint(min(2, len(fields)), min(4, len(fields))))
    kind = Kind(name=kind.name, language=kind.language, fields=tuple(fields))
    while True:
        rows = [_data(draw_record(kind, rng)) for _ in range(rng.randint(1, 4))]
        if not any(
            _is_numeral(value) or "," in _told(value) or ";" in _told(value) for row in rows for value in row.values()
        ):
            break
    form, text = rng.choice(_TABLES)(rows, rng)
    if rng.random() < 0.15:
        return speaker.say("table", form=form, text=text, types=speaker.say("untyped")), _as_texts(rows)
    return speaker.say("table", form=form, text=text, types=speaker.say("typed")), rows


def _data(record: Record) -> Row:
    return record.data()


def _csv(rows: list[Row], rng: random.Random) -> tuple[str, str]:
    form, separator = rng.choice(
        (("CSV", ","), ("CSV", ","), ("CSV", ";"), ("semicolon CSV", ";"), ("TSV", "\t"), ("table", " | "))
    )
    lines = [separator.join(rows[0]), *(separator.join(_told(value) for value in row.values()) for row in rows)]
    return form, "\n".join(lines)


def _markdown(rows: list[Row], rng: random.Random) -> tuple[str, str]:
    def line(texts: list[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    lines = [line(list(rows[0])), "|" + "---|" * len(rows[0])]
    lines += [line([_told(value) for value in row.values()]) for row in rows]
    return rng.choice(("Markdown table", "table", "md table")), "\n".join(lines)


def _columns(rows: list[Row], rng: random.Random) -> tuple[str, str]:
    cells = [list(rows[0]), *([_told(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "table", "\n".join(lines)


_TABLES: tuple[Callable[[list[Row], random.Random], tuple[str, str]], ...] = (_csv, _csv, _csv, _markdown, _columns)


def any_words(rng: random.Random, count: int) -> list[str]:
    """Different everyday words of one list."""
    return rng.sample(
        pool(rng.choice(("color", "grocery", "animal", "city", "plant", "material", "hobby", "first_name", "tag"))),
        count,
    )
