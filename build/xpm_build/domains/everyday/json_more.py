"""Less usual changes of JSON, and facts that have to be worked out: by an example, in chunks,
computed, without a title."""

from collections.abc import Callable
from typing import Any

from xpm_build.domains.everyday.json_change import counts, object_of
from xpm_build.domains.everyday.json_extract import Made, dump, pasted
from xpm_build.domains.everyday.json_list import people, rows_of, simple_list
from xpm_build.domains.everyday.json_notations import any_words
from xpm_build.domains.everyday.values import draw_value, listed, pool
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

_NTH = ("first", "second", "third", "fourth")
_PRODUCTS = (
    ("price", "quantity", "total"),
    ("width", "height", "area"),
    ("hours", "rate", "pay"),
    ("rows", "seats", "places"),
)


def change_more(words: Vocabulary, speaker: Speaker) -> Made:
    while (made := words.rng.choice(_CHANGES)(words, speaker)) is None:
        pass
    return made


def _same_again(words: Vocabulary, speaker: Speaker) -> Made | None:
    """An input with its output, and another input."""
    rng = words.rng
    rows, who, what = people(words)
    chosen, others = rows[:2], [{who: row[who], what: row[what]} for row in rows[2:4]]
    convert: Callable[[list[dict[str, Any]]], Any] = rng.choice(
        (
            lambda given: {row[who]: row[what] for row in given},
            lambda given: [row[who] for row in given],
            lambda given: [[row[who], row[what]] for row in given],
            lambda given: [{what: row[what]} for row in given],
            lambda given: {who: [row[who] for row in given], what: [row[what] for row in given]},
        )
    )
    prompt = speaker.say("same_again", json=pasted(chosen, words), other=dump(convert(chosen)), a=dump(others))
    return prompt, convert(others)


def _nth_of(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    items: list[Any] = rows_of(words, least=3)[0] if rng.random() < 0.6 else simple_list(words)
    at = rng.randrange(min(len(items), len(_NTH)))
    said = "last" if at == len(items) - 1 else _NTH[at]
    return speaker.say("nth_of", n=said, json=pasted(items, words)), items[at]


def _in_chunks(words: Vocabulary, speaker: Speaker) -> Made | None:
    items = simple_list(words)
    items += [each for each in simple_list(words) if type(each) is type(items[0])]
    size = words.rng.choice((2, 3))
    return speaker.say("in_chunks", n=str(size), json=pasted(items, words)), [
        items[at : at + size] for at in range(0, len(items), size)
    ]


def _computed(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    a, b, name = rng.choice(_PRODUCTS)
    facts = [(each, rng.randint(2, 20), rng.randint(2, 12)) for each in any_words(rng, rng.randint(1, 3))]
    rows: list[dict[str, Any]] = [{"name": each, a: x, b: y} for each, x, y in facts]
    return speaker.say("computed", a=a, b=b, n=name, json=pasted(rows, words)), [
        row | {name: row[a] * row[b]} for row in rows
    ]


def _toggle(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words, least=3)
    flags = [key for key, value in row.items() if isinstance(value, bool)]
    return (
        (speaker.say("toggle", a=flags[0], json=pasted(row, words)), row | {flags[0]: not row[flags[0]]})
        if flags
        else None
    )


def _sort_keys(words: Vocabulary, speaker: Speaker) -> Made | None:
    row = object_of(words, least=3)
    return speaker.say("sort_keys", json=pasted(row, words)), {key: row[key] for key in sorted(row)}


def _of_numbers(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    numbers = [rng.randint(-9, 90) for _ in range(rng.randint(2, 6))]
    kind = rng.choice(("count_of", "average_of", "extremes_of"))
    if kind == "count_of":
        items: list[Any] = numbers if rng.random() < 0.5 else rows_of(words)[0]
        return speaker.say(kind, json=pasted(items, words)), {"count": len(items)}
    if kind == "average_of":
        numbers[-1] += -sum(numbers) % len(numbers)
        return speaker.say(kind, json=pasted(numbers, words)), {"average": sum(numbers) // len(numbers)}
    return speaker.say(kind, json=pasted(numbers, words)), {"min": min(numbers), "max": max(numbers)}


def _each(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    rows, _, _ = rows_of(words)
    keys = list(rows[0])
    if rng.random() < 0.5:
        old, new = rng.choice(keys), rng.choice(("label", "title", "value", "code", "when", "kind"))
        if new in keys:
            return None
        return speaker.say("rename_each", a=old, b=new, json=pasted(rows, words)), [
            {new if key == old else key: value for key, value in row.items()} for row in rows
        ]
    if len(keys) < 2:
        return None
    kept = sorted(rng.sample(keys, rng.randint(1, len(keys) - 1)), key=keys.index)
    return speaker.say("keep_each", keys=listed(kept), json=pasted(rows, words)), [
        {key: row[key] for key in kept} for row in rows
    ]


def _strings(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    items = any_words(rng, rng.randint(2, 4))
    kind = rng.choice(("lengths_of", "joined", "split_string"))
    if kind == "lengths_of":
        return speaker.say(kind, json=pasted(items, words)), [len(item) for item in items]
    mark, said = rng.choice(((", ", "a comma and a space"), ("-", "-"), (" / ", "' / '"), (";", ";"), ("|", "|")))
    if kind == "joined":
        return speaker.say(kind, a=said, json=pasted(items, words)), mark.join(items)
    return speaker.say(kind, a=said, json=dump(mark.join(items))), items


def _defaults(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    default = counts(words) if rng.random() < 0.4 else object_of(words, least=3)
    names = list(default)
    other = {key: value for key, value in default.items() if rng.random() < 0.4}
    given = {**other, rng.choice(("mode", "label", "owner")): rng.choice(pool("tag"))}
    if len(other) == len(names):
        return None
    return speaker.say("defaults", json=pasted(given, words), other=dump(default)), given | {
        key: value for key, value in default.items() if key not in given
    }


def _only_changed(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    before = counts(words)
    after = {key: value + rng.choice((0, 0, 1, 5)) for key, value in before.items()}
    changed = {key: value for key, value in after.items() if value != before[key]}
    return (speaker.say("only_changed", json=pasted(before, words), other=dump(after)), changed) if changed else None


def _title_off(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    name, job, city = draw_value("full_name", rng).data, rng.choice(pool("job")), rng.choice(pool("city"))
    title = rng.choice(("Dr.", "Prof.", "Ms.", "Mr.", "Mrs."))
    text = rng.choice(
        (
            f"Please ask {title} {name}, our {job} in {city}.",
            f"{title} {name} ({job}, {city})",
            f"The {job} {title} {name} is based in {city}.",
            f"New in {city}: {title} {name}, {job}.",
        )
    )
    keys = rng.choice((("name", "job", "city"), ("name", "city"), ("name", "job"), ("city", "name")))
    known = {"name": name, "job": job, "city": city}
    return speaker.say("title_off", text=text, keys=listed(list(keys))), {key: known[key] for key in keys}


def _in_seconds(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    title, minutes, seconds = rng.choice(pool("song")), rng.randint(1, 9), rng.randint(0, 59)
    text = rng.choice(
        (
            f'"{title}" runs {minutes}:{seconds:02}.',
            f"{title}, {minutes}:{seconds:02}",
            f"Track: {title}, length {minutes} min {seconds} s",
        )
    )
    return speaker.say("in_seconds", text=text), {"title": title, "seconds": 60 * minutes + seconds}


def _dates_between(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    year, month = rng.randint(2020, 2027), rng.randrange(12)
    first = rng.randint(1, 20)
    last = rng.randint(first + 1, 28)
    name = pool("month")[month]
    text = rng.choice(
        (
            f"We are away from {first} to {last} {name} {year}.",
            f"Holiday: {first}-{last} {name} {year}",
            f"The fair is open {name} {first} to {last}, {year}.",
            f"Booked from {first} {name} {year} until {last} {name} {year}.",
        )
    )
    start, end = f"{year}-{month + 1:02}-{first:02}", f"{year}-{month + 1:02}-{last:02}"
    return speaker.say("dates_between", text=text), {"from": start, "to": end}


_CHANGES: tuple[Callable[[Vocabulary, Speaker], Made | None], ...] = (
    _same_again,
    _same_again,
    _nth_of,
    _in_chunks,
    _computed,
    _toggle,
    _sort_keys,
    _of_numbers,
    _of_numbers,
    _each,
    _each,
    _strings,
    _defaults,
    _only_changed,
    _title_off,
    _in_seconds,
    _dates_between,
)
