"""Broken JSON as people and programs leave it, and what it was meant to be; its layout, its validity, its schema."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

from xpm_build.domains.everyday.json_extract import Made, dump
from xpm_build.domains.everyday.json_notations import any_words
from xpm_build.domains.everyday.records import draw_kind, draw_record
from xpm_build.domains.json_schema import schema_of
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary


def sample(words: Vocabulary, *, most: int = 4) -> Any:
    """JSON as it occurs: an object, a nested one, a list of objects or of scalars."""
    rng = words.rng
    draw = rng.random()
    if draw < 0.12:
        return (
            any_words(rng, rng.randint(2, 5))
            if rng.random() < 0.6
            else [rng.randint(0, 99) for _ in range(rng.randint(2, 6))]
        )
    kind = draw_kind(words, "en")
    found = _some(draw_record(kind, rng).data(), rng, most)
    if draw < 0.3:
        return {rng.choice((kind.name, "data", "result", "item")): found}
    if draw < 0.45:
        keys = list(found)
        rows = [draw_record(kind, rng).data() for _ in range(rng.randint(1, 2))]
        return [found, *({key: row[key] for key in keys} for row in rows)]
    if draw < 0.55:
        return found | {rng.choice(("tags", "labels", "colors", "scores")): any_words(rng, rng.randint(1, 3))}
    if draw < 0.65:
        return found | {rng.choice(("note", "comment", "deleted_at", "parent")): None}
    if draw < 0.75:
        return found | {rng.choice(("active", "ok", "enabled", "visible")): rng.random() < 0.5}
    return found


def _some(row: dict[str, Any], rng: random.Random, most: int) -> dict[str, Any]:
    names = list(row)
    kept = sorted(rng.sample(range(len(names)), rng.randint(1, min(most, len(names)))))
    return {names[number]: row[names[number]] for number in kept}


def repair(words: Vocabulary, speaker: Speaker) -> Made:
    """One slip, now and then two."""
    rng = words.rng
    while True:
        value = sample(words)
        layout = rng.choice((None, None, None, 2))
        text = json.dumps(value, ensure_ascii=False, indent=layout)
        slips = rng.sample(_SLIPS, rng.choice((1, 1, 1, 2)))
        broken = text
        for slip in slips:
            broken = slip(broken, rng)
        if broken != text and _is_broken(broken):
            return speaker.say("repair", json=broken), value


def _is_broken(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def _single_quotes(text: str, rng: random.Random) -> str:
    return text if "'" in text else text.replace('"', "'")


def _no_quotes(text: str, rng: random.Random) -> str:
    return re.sub(r'"(\w+)":', r"\1:", text)


def _one_without_quotes(text: str, rng: random.Random) -> str:
    keys = re.findall(r'"\w+":', text)
    return text.replace(key := rng.choice(keys), key.replace('"', ""), 1) if keys else text


def _trailing(text: str, rng: random.Random) -> str:
    return re.sub(r"(\s*[\]}])$", r",\1", text)


def _trailing_everywhere(text: str, rng: random.Random) -> str:
    return re.sub(r"([^\s\[{])(\s*[\]}])", r"\1,\2", text)


def _python(text: str, rng: random.Random) -> str:
    for word, other in ((": true", ": True"), (": false", ": False"), (": null", ": None")):
        text = text.replace(word, other)
    return text


def _no_comma(text: str, rng: random.Random) -> str:
    places = [match.start() for match in re.finditer(r',\s+"\w+":', text)]
    return text[: (at := rng.choice(places))] + text[at + 1 :] if places else text


def _no_end(text: str, rng: random.Random) -> str:
    return text[:-1].rstrip() if text[-1] in "]}" else text


def _no_start(text: str, rng: random.Random) -> str:
    return text[1:].lstrip() if text[0] == "{" else text


def _equals(text: str, rng: random.Random) -> str:
    return re.sub(r'"(\w+)": ', r'"\1" = ', text)


def _typographic(text: str, rng: random.Random) -> str:
    return re.sub(r'"([^"]*)"', r"“\1”", text)


def _open_key(text: str, rng: random.Random) -> str:
    return re.sub(r'"(\w+)":', r'"\1:', text, count=1)


def _two_commas(text: str, rng: random.Random) -> str:
    return re.sub(r'(?<=["\d\]}]), (?=["\d\[{])', ",, ", text, count=1)


def _bare_words(text: str, rng: random.Random) -> str:
    """Texts of one word without quotes, but none that would be another type."""
    return re.sub(
        r': "([A-Za-z]\w*)"',
        lambda match: f": {match[1]}" if match[1] not in ("true", "false", "null") else match[0],
        text,
    )


def _semicolons(text: str, rng: random.Random) -> str:
    return re.sub(r',(\s+"\w+":)', r";\1", text)


def _undefined(text: str, rng: random.Random) -> str:
    return text.replace(": null", rng.choice((": undefined", ": NULL", ": nil", ": None")))


def _leading_zero(text: str, rng: random.Random) -> str:
    return re.sub(r": ([1-9]\d?)(?=[,}\n])", r": 0\1", text, count=1)


def _naked_decimal(text: str, rng: random.Random) -> str:
    return re.sub(r": 0\.(\d)", r": .\1", text)


def _assigned(text: str, rng: random.Random) -> str:
    return f"{rng.choice(('const data', 'var x', 'data', 'let result'))} = {text}{rng.choice((';', ''))}"


def _plus(text: str, rng: random.Random) -> str:
    return re.sub(r": (\d+)(?=[,}])", r": +\1", text, count=1)


Slip = Callable[[str, random.Random], str]
_SLIPS: tuple[Slip, ...] = (
    _single_quotes,
    _single_quotes,
    _no_quotes,
    _no_quotes,
    _one_without_quotes,
    _trailing,
    _trailing,
    _trailing_everywhere,
    _python,
    _python,
    _no_comma,
    _no_comma,
    _no_end,
    _no_start,
    _equals,
    _typographic,
    _open_key,
    _two_commas,
    _bare_words,
    _semicolons,
    _undefined,
    _leading_zero,
    _naked_decimal,
    _assigned,
    _plus,
)


def cut_off(words: Vocabulary, speaker: Speaker) -> Made:
    """JSON whose closing brackets are missing; what is open can be closed in one way."""
    rng = words.rng
    while True:
        value = sample(words)
        text = dump(value)
        ending = re.search(r"[\]}]{1,}$", text)
        if ending and len(ending[0]) >= 1 and (len(ending[0]) > 1 or rng.random() < 0.4):
            return speaker.say("cut_off", json=text[: ending.start()]), value


_REMARKS = (
    "default",
    "change me",
    "in seconds",
    "see the manual",
    "optional",
    "was higher before",
    "ask Tom",
    "do not touch",
    "new",
    "required",
)


def comments(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    value = sample(words)
    while not isinstance(value, dict):
        value = sample(words)
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    for number in rng.sample(range(len(lines)), rng.randint(1, min(3, len(lines)))):
        remark = rng.choice(_REMARKS)
        mark = rng.choice((f"// {remark}", f"/* {remark} */", f"# {remark}"))
        lines[number] += f" {mark}"
    if rng.random() < 0.25:
        lines.insert(0, f"// {rng.choice(('settings', 'generated file', 'local config', 'test data'))}")
    return speaker.say("comments", json="\n".join(lines)), value


def valid(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    text = dump(sample(words, most=3))
    if rng.random() < 0.5:
        return speaker.say("valid", json=text), {"ok": True}
    while not _is_broken(broken := rng.choice(_SLIPS)(text, rng)):
        text = dump(sample(words, most=3))
    return speaker.say("valid", json=broken), {"ok": False}


def layout(words: Vocabulary, speaker: Speaker) -> tuple[str, Any, str]:
    """(prompt, value, answer as written): indented JSON, or JSON without spaces."""
    value = sample(words)
    if words.rng.random() < 0.5:
        return speaker.say("pretty", json=dump(value)), value, json.dumps(value, ensure_ascii=False, indent=2)
    text = json.dumps(value, ensure_ascii=False, indent=words.rng.choice((2, 4)))
    return speaker.say("minify", json=text), value, json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def schema(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    kind = draw_kind(words, "en")
    found = _some(draw_record(kind, rng).data(), rng, 4)
    if rng.random() < 0.3:
        found |= {rng.choice(("active", "ok", "enabled")): True}
    frame = speaker.frame("schema_for")
    words_for = {
        "string": "string",
        "integer": "integer",
        "number": "number",
        "boolean": "boolean",
        "array": "array of strings",
    }
    wanted = schema_of(found)
    told = []
    for key, each in wanted["properties"].items():
        name = words_for[each["type"]]
        name = "array of integers" if each.get("items") == {"type": "integer"} else name
        told.append(rng.choice(("{k} ({t})", "{k}: {t}", "{k} ({t})")).replace("{k}", key).replace("{t}", name))
    return speaker.fill(frame, json=dump(found), keys=", ".join(told)), wanted
