"""Changes of one JSON object that is given: keys renamed, dropped, added, nested; values set, converted, looked up."""

import json
import re
from collections.abc import Callable
from typing import Any

from xpm_build.domains.everyday.json_extract import Made, dump, pasted
from xpm_build.domains.everyday.json_notations import any_words
from xpm_build.domains.everyday.records import camel, draw_kind, draw_record
from xpm_build.domains.everyday.values import draw_value, listed, pool
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Row = dict[str, Any]
_NEW_KEYS = (
    "enabled",
    "source",
    "version",
    "note",
    "status",
    "updated",
    "country",
    "category",
    "score",
    "checked",
    "level",
    "group",
)
_OUTER = ("data", "result", "details", "info", "payload", "record", "item", "meta")


def change_object(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    while (made := rng.choice(_CHANGES)(words, speaker)) is None:
        pass
    return made


def object_of(words: Vocabulary, *, least: int = 2, most: int = 5) -> Row:
    """One record's data, or some of it."""
    rng = words.rng
    row = draw_record(draw_kind(words, "en"), rng).data()
    names = list(row)
    kept = sorted(rng.sample(range(len(names)), rng.randint(min(least, len(names)), min(most, len(names)))))
    return {names[number]: row[names[number]] for number in kept}


def shown(value: Any) -> str:
    """A value in a request: texts of one word now and then without quotes."""
    return dump(value)


def new_value(key: str, words: Vocabulary) -> Any:
    rng = words.rng
    if key in ("enabled", "checked"):
        return rng.random() < 0.5
    if key in ("version", "score", "level"):
        return rng.randint(1, 20)
    if key == "updated":
        return draw_value("date", rng).formed
    pools = {
        "country": "country",
        "note": "action",
        "status": "sky",
        "category": "department",
        "group": "color",
        "source": "browser",
    }
    return rng.choice(pool(pools.get(key, "tag")))


def _rename(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    kind = draw_kind(words, "en")
    row = draw_record(kind, rng).data()
    old = rng.choice(list(row))
    new = rng.choice((*_NEW_KEYS, "full_name", "id", "label", "title", "value", "amount", "when", "place"))
    if new in row:
        return None
    renamed = {new if key == old else key: value for key, value in row.items()}
    return speaker.say("rename", a=old, b=new, json=pasted(row, words)), renamed


def _drop(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words)
    if words.rng.random() < 0.3:
        key, value = words.rng.choice(
            (("pin_code", "4711"), ("token", "abc123"), ("internal_id", 991), ("secret", "hunter2"), ("ssn", "000-11"))
        )
        row = {key: value} | row if words.rng.random() < 0.3 else row | {key: value}
    else:
        key = words.rng.choice(list(row))
    return speaker.say("drop", a=key, json=pasted(row, words)), {
        each: value for each, value in row.items() if each != key
    }


def _keep(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words, least=3)
    if len(row) < 2:
        return None
    names = [key for key in row if words.rng.random() < 0.5] or [next(iter(row))]
    return speaker.say("keep", keys=listed(names), json=pasted(row, words)), {key: row[key] for key in names}


def _add(words: Vocabulary, speaker: Speaker) -> Made | None:
    row, key = object_of(words), words.rng.choice(_NEW_KEYS)
    if key in row:
        return None
    value = new_value(key, words)
    return speaker.say("add", a=key, v=shown(value), json=pasted(row, words)), row | {key: value}


def _set(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    kind = draw_kind(words, "en")
    row, other = draw_record(kind, rng).data(), draw_record(kind, rng).data()
    key = rng.choice(list(row))
    if row[key] == other[key]:
        return None
    return speaker.say("set", a=key, v=shown(other[key]), json=pasted(row, words)), row | {key: other[key]}


def _wrap(words: Vocabulary, speaker: Speaker) -> Made | None:
    row, name = object_of(words), words.rng.choice(_OUTER)
    return speaker.say("wrap", a=name, json=pasted(row, words)), {name: row}


def _unwrap(words: Vocabulary, speaker: Speaker) -> Made | None:
    row, name = object_of(words), words.rng.choice(_OUTER)
    around: Row = {name: row}
    if words.rng.random() < 0.5:
        around |= {words.rng.choice(("status", "code", "page")): words.rng.randint(1, 200)}
    return speaker.say("unwrap", a=name, json=pasted(around, words)), row


def _merge(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    kind = draw_kind(words, "en")
    row, other = draw_record(kind, rng).data(), draw_record(kind, rng).data()
    names = list(row)
    first = {key: row[key] for key in names if rng.random() < 0.7} or row
    second = {key: other[key] for key in names if rng.random() < 0.5} or {names[0]: other[names[0]]}
    return speaker.say("merge", json=pasted(first, words), other=dump(second)), first | second


def _to_entries(words: Vocabulary, speaker: Speaker) -> Made | None:
    mapping = counts(words)
    a, b = words.rng.choice((("name", "count"), ("key", "value"), ("label", "amount"), ("id", "n"), ("item", "number")))
    return speaker.say("to_entries", a=a, b=b, json=pasted(mapping, words)), [
        {a: key, b: value} for key, value in mapping.items()
    ]


def counts(words: Vocabulary) -> Row:
    """Names to numbers."""
    return {name: words.rng.randint(1, 60) for name in any_words(words.rng, words.rng.randint(2, 5))}


def _swap(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    left, right = rng.sample(("first_name", "city", "color", "animal", "job", "hobby", "country", "sport", "plant"), 2)
    count = rng.randint(2, 4)
    mapping = dict(zip(rng.sample(pool(left), count), rng.sample(pool(right), count), strict=True))
    return speaker.say("swap", json=pasted(mapping, words)), {value: key for key, value in mapping.items()}


def _keys_of(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words)
    return speaker.say("keys_of", json=pasted(row, words)), list(row)


def _values_of(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words) if words.rng.random() < 0.6 else counts(words)
    return speaker.say("values_of", json=pasted(row, words)), list(row.values())


def _to_number(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words)
    numeric = {key for key, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    if not numeric or any(isinstance(value, str) and re.fullmatch(r"[\d.]+", value) for value in row.values()):
        return None
    texts = {key: str(value) if key in numeric else value for key, value in row.items()}
    return speaker.say("to_number", json=pasted(texts, words)), row


def _to_text(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words)
    found = {
        key: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        for key, value in row.items()
    }
    return (
        None
        if found == row or any(isinstance(each, list) for each in row.values())
        else (speaker.say("to_text", json=pasted(row, words)), found)
    )


def _date_iso(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    kind = draw_kind(words, "en")
    record = draw_record(kind, rng)
    dated = [field.key for field, value in zip(kind.fields, record.values, strict=True) if value.hint == "YYYY-MM-DD"]
    if not dated:
        return None
    row = record.data()
    found = {
        field.key: value.formed if field.key in dated else value.data
        for field, value in zip(kind.fields, record.values, strict=True)
    }
    return None if found == row else (speaker.say("date_iso", a=dated[0], json=pasted(row, words)), found)


def _nested(words: Vocabulary) -> Row:
    rng = words.rng
    names = rng.sample(("user", "address", "settings", "order", "meta", "server", "owner", "stats"), rng.randint(1, 2))
    found: Row = {"id": rng.randint(1, 900)} if rng.random() < 0.4 else {}
    return found | {name: dict(list(object_of(words, most=3).items())) for name in names}


def _dotted(nested: Row) -> Row:
    flat: Row = {}
    for key, value in nested.items():
        flat |= {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _flatten(words: Vocabulary, speaker: Speaker) -> Made | None:
    nested = _nested(words)
    flat = _dotted(nested)
    return speaker.say("flatten", a=next(key for key in flat if "." in key), json=pasted(nested, words)), flat


def _unflatten(words: Vocabulary, speaker: Speaker) -> Made | None:
    nested = _nested(words)
    return speaker.say("unflatten", json=dump(_dotted(nested))), nested


def _nest(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng, row = words.rng, object_of(words, least=3)
    if len(row) < 3:
        return None
    names = sorted(rng.sample(list(row), rng.randint(1, len(row) - 1)), key=list(row).index)
    outer = rng.choice(_OUTER)
    rest = {key: value for key, value in row.items() if key not in names}
    return speaker.say("nest", keys=listed(names), a=outer, json=pasted(row, words)), rest | {
        outer: {key: row[key] for key in names}
    }


def _move_out(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng, row, name = words.rng, object_of(words), words.rng.choice(_OUTER)
    if len(row) < 2:
        return None
    key = rng.choice(list(row))
    around: Row = {"id": rng.randint(1, 900), name: row}
    inner = {each: value for each, value in row.items() if each != key}
    return speaker.say("move_out", a=name, b=key, json=pasted(around, words)), {
        "id": around["id"],
        name: inner,
        key: row[key],
    }


def _case(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng, row = words.rng, object_of(words)
    kind = rng.choice(("upper", "lower"))
    found = {
        key: (value.upper() if kind == "upper" else value.lower()) if isinstance(value, str) else value
        for key, value in row.items()
    }
    return (
        None
        if found == row or any(isinstance(each, list) for each in row.values())
        else (speaker.say(kind, json=pasted(row, words)), found)
    )


def _key_case(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words)
    snake = {re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key): value for key, value in row.items()}
    camels = {camel(key): value for key, value in snake.items()}
    if snake == camels:
        return None
    if words.rng.random() < 0.5:
        return speaker.say("keys_camel", json=pasted(snake, words)), camels
    return speaker.say("keys_snake", json=pasted(camels, words)), snake


def _null(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng, row = words.rng, object_of(words, least=3)
    names = [key for key in row if rng.random() < 0.4]
    if not names or len(names) == len(row):
        return None
    with_null = {key: None if key in names else value for key, value in row.items()}
    if rng.random() < 0.5:
        return speaker.say("drop_null", json=pasted(with_null, words)), {
            key: value for key, value in row.items() if key not in names
        }
    value = rng.choice((0, "", "unknown", "n/a", False))
    return speaker.say("null_to", v=dump(value), json=pasted(with_null, words)), {
        key: value if key in names else each for key, each in row.items()
    }


def _decode(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words, most=3)
    return speaker.say("decode", json=json.dumps(dump(row), ensure_ascii=False)), row


def _diff(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    kind = draw_kind(words, "en")
    row, other = draw_record(kind, rng).data(), draw_record(kind, rng).data()
    mixed = {key: other[key] if rng.random() < 0.4 else value for key, value in row.items()}
    found = [key for key in row if row[key] != mixed[key]]
    return (speaker.say("diff", json=pasted(row, words), other=dump(mixed)), found) if found else None


def _value_at(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    nested = _nested(words)
    flat = _dotted(nested)
    path = rng.choice(list(flat))
    return speaker.say("value_at", a=path, json=pasted(nested, words)), flat[path]


def _join_name(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    first, last = rng.choice(pool("first_name")), rng.choice(pool("last_name"))
    a, b = rng.choice(
        (("first_name", "last_name"), ("given", "family"), ("firstname", "surname"), ("forename", "lastname"))
    )
    name = rng.choice(("full_name", "contact", "customer", "author"))
    rest = {key: value for key, value in object_of(words, most=2).items() if key not in (a, b, name)}
    if rng.random() < 0.5:
        return speaker.say("full_name_join", a=a, b=b, n=name, json=pasted({a: first, b: last} | rest, words)), {
            name: f"{first} {last}"
        } | rest
    return speaker.say("full_name_split", a=a, b=b, n=name, json=pasted({name: f"{first} {last}"} | rest, words)), {
        a: first,
        b: last,
    } | rest


_UNITS: tuple[tuple[str, str, str, str, int], ...] = (
    ("length_m", "meters", "length_cm", "centimeters", 100),
    ("distance_km", "kilometers", "distance_m", "meters", 1000),
    ("weight_kg", "kilograms", "weight_g", "grams", 1000),
    ("duration_h", "hours", "duration_min", "minutes", 60),
    ("time_min", "minutes", "time_s", "seconds", 60),
    ("price_euros", "euros", "price_cents", "cents", 100),
    ("delay_s", "seconds", "delay_ms", "milliseconds", 1000),
    ("size_kb", "kilobytes", "size_bytes", "bytes", 1000),
)


def _convert(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    old, said, new, wanted, factor = rng.choice(_UNITS)
    number = rng.randint(1, 40)
    rest = {key: value for key, value in object_of(words, most=2).items() if key not in (old, new)}
    at_end = rng.random() < 0.5
    before, after = ({old: number}, {new: number * factor})
    row, found = (rest | before, rest | after) if at_end else (before | rest, after | rest)
    return speaker.say("convert_unit", a=old, b=said, n=wanted, v=new, json=pasted(row, words)), found


Change = Callable[[Vocabulary, Speaker], Made | None]
_CHANGES: tuple[Change, ...] = (
    _rename,
    _rename,
    _drop,
    _drop,
    _keep,
    _add,
    _add,
    _set,
    _set,
    _wrap,
    _unwrap,
    _merge,
    _to_entries,
    _swap,
    _keys_of,
    _values_of,
    _to_number,
    _to_text,
    _date_iso,
    _flatten,
    _unflatten,
    _nest,
    _move_out,
    _case,
    _key_case,
    _null,
    _decode,
    _diff,
    _value_at,
    _join_name,
    _convert,
)
