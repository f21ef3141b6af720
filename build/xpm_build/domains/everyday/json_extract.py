"""JSON from what people tell: one record, several, lists with numbers, receipts, and all of one
sort that a text mentions."""

import json
import random
import re
from typing import Any

from xpm_build.domains.everyday.json_asking import Wanted, answer, listed_keys, schema_of, shaped_keys, want
from xpm_build.domains.everyday.records import Kind, Record, draw_kind, draw_record, plain, tell
from xpm_build.domains.everyday.values import Value, draw_value, listed, pool
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Made = tuple[str, Any]
"""A prompt and the value that is wanted."""

_MISSING = Value(data=None, said="")
_UNTOLD = ("notes", "website", "fax", "comment", "discount", "middle_name", "region", "tax_id", "nickname", "url")


def _wanted(record: Record, rng: random.Random, *, least: int = 1) -> list[Wanted]:
    """Some of a record's fields, in its order more often than not."""
    count = len(record.values)
    fewest = min(count, max(least, 2 if rng.random() < 0.9 else 1))
    numbers = rng.sample(range(count), rng.randint(fewest, count))
    if rng.random() < 0.75:
        numbers.sort()
    return [want(record.kind.fields[number].key, record.values[number], rng) for number in numbers]


def extract(words: Vocabulary, speaker: Speaker) -> Made:
    """Keys that the request lists in words."""
    rng = words.rng
    record = draw_record(draw_kind(words, speaker.language), rng)
    wanted = _wanted(record, rng)
    frame, ending = speaker.frame("keys"), ""
    text = _quoted(tell(record, speaker), frame, rng)
    if rng.random() < 0.07 and speaker.language == "en":
        wanted.insert(rng.randint(1, len(wanted)), Wanted(rng.choice(_UNTOLD), _MISSING, False))
        ending = speaker.say("null_if_missing")
    keys = listed_keys(wanted, speaker, below=bool(re.search(r"\{keys\}(\n|$)", frame)))
    prompt = speaker.fill(frame, keys=keys, text=text)
    if ending and re.search(r"\w$|[\"`)]$", prompt):
        prompt += "."
    return prompt + ending, answer(wanted)


def _quoted(text: str, frame: str, rng: random.Random) -> str:
    """The text in quotes or a fence now and then, unless its frame has quotes of its own."""
    draw = 1.0 if '"{text}"' in frame else rng.random()
    if draw < 0.12 and '"' not in text:
        return f'"{text}"'
    return f'"""{text}"""' if draw < 0.15 else f"```\n{text}\n```" if draw < 0.18 else text


def shape(words: Vocabulary, speaker: Speaker) -> Made:
    """Keys that the request shows in braces, a template, an interface, a schema, or nested under a name."""
    rng = words.rng
    record = draw_record(draw_kind(words, speaker.language), rng)
    wanted = _wanted(record, rng)
    draw = rng.random()
    frame = speaker.frame("schema_given" if draw < 0.15 and speaker.language == "en" else "shape")
    text = _quoted(tell(record, speaker), frame, rng)
    if draw < 0.15 and speaker.language == "en":
        return speaker.fill(frame, keys=schema_of(wanted), text=text), answer(wanted)
    if draw < 0.3 and len(wanted) > 1:
        keys, found = _nested(record, wanted, rng)
        return speaker.fill(frame, keys=keys, text=text), found
    return speaker.fill(frame, keys=shaped_keys(wanted, rng), text=text), answer(wanted)


def _nested(record: Record, wanted: list[Wanted], rng: random.Random) -> tuple[str, Any]:
    """(shape, value) with all keys under one, or the last few under another."""
    name = record.kind.name if rng.random() < 0.6 else rng.choice(("data", "result", "record", "details", "info"))
    wanted = [Wanted(each.key, each.value, bool(each.value.hint)) for each in wanted]
    shape = {each.key: _shown(each) for each in wanted}
    found = answer(wanted)
    if rng.random() < 0.5 or len(wanted) < 3:
        return dump({name: shape}), {name: found}
    at = rng.randint(1, len(wanted) - 2)
    keys = list(shape)
    if name in keys:
        name = "details"

    def split(each: dict[str, Any]) -> dict[str, Any]:
        return {key: each[key] for key in keys[:at]} | {name: {key: each[key] for key in keys[at:]}}

    return dump(split(shape)), split(found)


def _shown(each: Wanted) -> Any:
    if each.value.kind == "array":
        return ["..."]
    if each.value.kind == "string":
        return each.value.hint or "string"
    return "number" if each.value.kind in ("integer", "number") else "boolean"


def by_example(words: Vocabulary, speaker: Speaker) -> Made:
    """A text with its JSON, and another text."""
    kind = plain(draw_kind(words, "en"))
    rng = words.rng
    records = [draw_record(kind, rng), draw_record(kind, rng)]
    numbers = sorted(rng.sample(range(len(kind.fields)), rng.randint(min(2, len(kind.fields)), len(kind.fields))))
    told = [_told(record, speaker, numbers) for record in records]
    prompt = speaker.say("by_example", text1=told[0][0], json1=dump(told[0][1]), text=told[1][0])
    return prompt, told[1][1]


def _told(record: Record, speaker: Speaker, numbers: list[int]) -> tuple[str, dict[str, Any]]:
    """Facts of a record in short, and their JSON."""
    facts = [(record.kind.fields[number].key, record.values[number]) for number in numbers]
    text = ", ".join(f"{value.said}" if value.kind != "boolean" else f"{key} {value.said}" for key, value in facts)
    return text, {key: value.data for key, value in facts}


def several(words: Vocabulary, speaker: Speaker) -> Made:
    """A list of records of one kind, alone or under a name."""
    rng = words.rng
    kind = draw_kind(words, "en")
    kind = Kind(name=kind.name, language="en", fields=kind.fields)
    records = [draw_record(kind, rng) for _ in range(rng.randint(2, 3))]
    count = len(kind.fields)
    numbers = sorted(rng.sample(range(count), rng.randint(2, min(4, count))))
    rows = [[want(kind.fields[number].key, record.values[number], rng) for number in numbers] for record in records]
    formed = [any(row[at].formed for row in rows) for at in range(len(numbers))]
    rows = [[Wanted(each.key, each.value, formed[at]) for at, each in enumerate(row)] for row in rows]
    text = rng.choice((" ", "\n", "\n- ")).join(tell(record, speaker) for record in records)
    keys, found = shaped_keys(rows[0], rng), [answer(row) for row in rows]
    if rng.random() < 0.35:
        name = rng.choice((f"{kind.name}s", "items", "entries", "records", "results", "data"))
        return speaker.say("several_under", keys=keys, text=text, name=name, open="[", close="]"), {name: found}
    return speaker.say("several", keys=keys, text=text, open="[", close="]"), found


def name_to_number(words: Vocabulary, speaker: Speaker) -> Made:
    """``Ann 12, Bo 9`` as one object."""
    rng = words.rng
    type_ = rng.choice(
        ("first_name", "first_name", "city", "grocery", "team", "subject", "plant", "color", "sport", "month")
    )
    names = rng.sample(pool(type_), rng.randint(2, 5))
    number = rng.choice(("id 1 99", "id 1 20", "id 100 900", "money 1 60"))
    values = [draw_value(number, rng) for _ in names]
    style = rng.choice(("{k} ({v})", "{k}: {v}", "{k} {v}", "{k} = {v}", "{k} has {v}", "{k} - {v}"))
    told = [style.replace("{k}", name).replace("{v}", value.said) for name, value in zip(names, values, strict=True)]
    text = listed(told) if rng.random() < 0.5 else rng.choice((", ", "; ", "\n")).join(told)
    return speaker.say("map", text=text), {name: value.data for name, value in zip(names, values, strict=True)}


def receipt(words: Vocabulary, speaker: Speaker) -> Made:
    """Lines with prices and a total."""
    rng = words.rng
    names = rng.sample(pool(rng.choice(("grocery", "product", "dish"))), rng.randint(2, 4))
    prices = [rng.randint(1, 30) + rng.choice((0, 0.2, 0.5, 0.49, 0.95, 0.99, 0.75)) for _ in names]
    a, b = rng.choice(
        (("item", "price"), ("label", "euros"), ("product", "amount"), ("description", "cost"), ("article", "price"))
    )
    gap = rng.choice((" ", "  ", " ... ", ": ", "\t"))
    title = rng.choice(("", "Receipt\n", "RECEIPT\n", "Thank you for your visit\n", f"{rng.choice(pool('company'))}\n"))
    total = round(sum(prices), 2)
    lines = [f"{name.capitalize()}{gap}{price:.2f}" for name, price in zip(names, prices, strict=True)]
    lines.append(f"{rng.choice(('Total', 'TOTAL', 'Sum', 'To pay'))}{gap}{total:.2f}")
    items = [{a: name.capitalize(), b: price} for name, price in zip(names, map(float, prices), strict=True)]
    prompt = speaker.say("receipt", text=title + "\n".join(lines), a=a, b=b, open="[", close="]")
    return prompt, {"items": items, "total": float(total)}


def quantities(words: Vocabulary, speaker: Speaker) -> Made:
    """``2 kg apples, 3 l milk`` as a list of objects."""
    rng = words.rng
    names = rng.sample(pool(rng.choice(("grocery", "ingredient", "material"))), rng.randint(2, 4))
    amounts = [(rng.randint(1, 20), rng.choice(pool("unit"))) for _ in names]
    a, b, c = rng.choice(
        (
            ("quantity", "unit", "item"),
            ("amount", "unit", "name"),
            ("number", "measure", "product"),
            ("qty", "unit", "what"),
        )
    )
    told = [f"{amount} {unit} {name}" for name, (amount, unit) in zip(names, amounts, strict=True)]
    text = rng.choice((", ", "; ", "\n")).join(told) if rng.random() < 0.5 else listed(told)
    items = [{a: amount, b: unit, c: name} for name, (amount, unit) in zip(names, amounts, strict=True)]
    return speaker.say("quantities", text=text, a=a, b=b, c=c, open="[", close="]"), items


_TALK = {
    "email": (
        "Please write to {}.",
        "My address is {}, or try {}.",
        "Send it to {} and copy {}.",
        "{} bounced, use {} or {}.",
        "Ask {} about it, not the front desk.",
    ),
    "number": (
        "We have {} chairs and {} tables.",
        "The {} boxes weigh {} kg each and cost {} euros.",
        "Take bus {} to stop {}.",
        "From {} people, {} said yes.",
        "Chapter {} starts on page {}.",
    ),
    "first_name": (
        "{} and {} went hiking.",
        "Yesterday {} called {}, but {} was out.",
        "{} met {} at the station.",
        "The cake is from {}, the card from {} and the flowers from {}.",
        "I told {} that {} is late.",
    ),
    "hashtag": (
        "Great weekend! #{} #{}",
        "New photos are up #{} #{} #{}",
        "Who is coming? #{}",
        "#{} is my favorite, #{} comes second",
    ),
    "url": (
        "See {} for details.",
        "I found it on {} and on {}.",
        "Docs: {}, shop: {}",
        "The link {} is dead, use {} now.",
    ),
    "city": (
        "We fly from {} to {}.",
        "Offices: {}, {} and {}.",
        "I was born in {} but live in {}.",
        "The train goes from {} via {} to {}.",
    ),
}
_FIND = {
    "email": "find_email",
    "number": "find_number",
    "first_name": "find_name",
    "hashtag": "find_hashtag",
    "url": "find_url",
    "city": "find_city",
}


def find_all(words: Vocabulary, speaker: Speaker) -> Made:
    """Everything of one sort that a text mentions."""
    rng = words.rng
    sort = rng.choice(list(_FIND))
    frame = rng.choice(_TALK[sort])
    values: list[Value] = []
    for _ in range(frame.count("{}")):
        value = _mention(sort, rng)
        while value.said in [each.said for each in values]:
            value = _mention(sort, rng)
        values.append(value)
    text = frame.format(*(value.said for value in values))
    return speaker.say(_FIND[sort], text=text), [value.data for value in values]


def _mention(sort: str, rng: random.Random) -> Value:
    if sort == "number":
        return draw_value("id 2 300", rng)
    return draw_value("tag" if sort == "hashtag" else sort, rng)


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def pasted(value: Any, words: Vocabulary) -> str:
    """JSON as people paste it: mostly in a line, now and then indented, without spaces or in a fence."""
    draw = words.rng.random()
    if not isinstance(value, dict | list) or draw < 0.7:
        return dump(value)
    if draw < 0.84:
        return json.dumps(value, ensure_ascii=False, indent=2)
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":")) if draw < 0.94 else f"```json\n{dump(value)}\n```"
    )
