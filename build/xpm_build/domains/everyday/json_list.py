"""Changes of a JSON list that is given: filtered, sorted, grouped, counted, summed, cut, joined."""

from collections.abc import Callable
from typing import Any

from xpm_build.domains.everyday.json_change import counts, new_value
from xpm_build.domains.everyday.json_extract import Made, dump, pasted
from xpm_build.domains.everyday.json_notations import any_words
from xpm_build.domains.everyday.records import draw_kind, draw_record
from xpm_build.domains.everyday.values import draw_value, pool
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Row = dict[str, Any]
_NTH = ("first", "second", "third", "fourth", "last")


def change_list(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    while (made := rng.choice(_CHANGES)(words, speaker)) is None:
        pass
    return made


def rows_of(words: Vocabulary, *, least: int = 2) -> tuple[list[Row], list[str], list[str]]:
    """(objects with the same keys, keys of numbers, keys of texts); one of each kind at least, where there is one."""
    rng = words.rng
    kind = draw_kind(words, "en")
    rows = [draw_record(kind, rng).data() for _ in range(rng.randint(least, 4))]
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float) and not isinstance(value, bool)]
    texts = [key for key, value in rows[0].items() if isinstance(value, str)]
    others = [key for key in rows[0] if key not in numbers and key not in texts]
    kept = rng.sample(numbers, min(len(numbers), rng.choice((1, 1, 2)))) + rng.sample(
        texts, min(len(texts), rng.choice((1, 1, 2)))
    )
    kept += rng.sample(others, min(len(others), rng.choice((0, 0, 1))))
    kept = [key for key in rows[0] if key in kept]
    return (
        [{key: row[key] for key in kept} for row in rows],
        [k for k in kept if k in numbers],
        [k for k in kept if k in texts],
    )


def _pluck(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, _, _ = rows_of(words)
    key = words.rng.choice(list(rows[0]))
    return speaker.say("pluck", a=key, json=pasted(rows, words)), [row[key] for row in rows]


def _filter(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, numbers, _ = rows_of(words, least=3)
    if not numbers:
        return None
    key = words.rng.choice(numbers)
    values = sorted({row[key] for row in rows})
    if len(values) < 2:
        return None
    limit = int(words.rng.choice(values[:-1])) + words.rng.choice((0, 0, 1))
    kind = words.rng.choice(("filter_gt", "filter_lt"))
    found = [row for row in rows if (row[key] > limit if kind == "filter_gt" else row[key] < limit)]
    return speaker.say(kind, a=key, n=str(limit), json=pasted(rows, words)), found


def _filter_equal(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    rows, _, texts = rows_of(words, least=3)
    flags = [key for key, value in rows[0].items() if isinstance(value, bool)]
    if not texts and not flags:
        return None
    key = rng.choice(flags or texts)
    if key in texts:
        for row in rows[1:]:
            row[key] = rng.choice((row[key], rows[0][key]))
    value = rows[0][key]
    return speaker.say("filter_eq", a=key, v=dump(value), json=pasted(rows, words)), [
        row for row in rows if row[key] == value
    ]


def _sort(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, numbers, texts = rows_of(words)
    names = [key for key in texts if all(str(row[key])[:1].isupper() for row in rows)]
    if not numbers and not names:
        return None
    key = words.rng.choice(numbers or names)
    if len({row[key] for row in rows}) < len(rows):
        return None
    kind = words.rng.choice(("sort", "sort_down"))
    return speaker.say(kind, a=key, json=pasted(rows, words)), sorted(
        rows, key=lambda row: row[key], reverse=kind == "sort_down"
    )


def people(words: Vocabulary) -> tuple[list[Row], str, str]:
    """Objects of which some share a value: (rows, key of the name, key that is shared)."""
    rng = words.rng
    who, what, pools = rng.choice(
        (
            ("student", "subject", ("first_name", "subject")),
            ("name", "department", ("first_name", "department")),
            ("title", "genre", ("film", "genre")),
            ("city", "country", ("city", "country")),
            ("product", "color", ("product", "color")),
            ("plant", "bed", ("plant", "color")),
            ("name", "species", ("pet_name", "animal")),
            ("song", "artist", ("song", "band")),
            ("item", "material", ("product", "material")),
            ("name", "language", ("first_name", "language")),
        )
    )
    count = rng.randint(3, 5)
    shared = rng.sample(pool(pools[1]), rng.randint(2, count - 1))
    names = rng.sample(pool(pools[0]), count)
    return [{who: name, what: rng.choice(shared)} for name in names], who, what


def _group(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, who, what = people(words)
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row[what], []).append(row[who])
    return speaker.say("group", a=what, b=who, json=pasted(rows, words)), found


def _count_by(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, _, what = people(words)
    found: dict[str, int] = {}
    for row in rows:
        found[row[what]] = found.get(row[what], 0) + 1
    return speaker.say("count_by", a=what, json=pasted(rows, words)), found


def _sum(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, numbers, _ = rows_of(words)
    whole = [key for key in numbers if all(isinstance(row[key], int) for row in rows)]
    if not whole or max(row[whole[0]] for row in rows) > 400:
        return None
    return speaker.say("sum_of", a=whole[0], json=pasted(rows, words)), {"total": sum(row[whole[0]] for row in rows)}


def _extreme(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, numbers, _ = rows_of(words)
    if not numbers or len({row[numbers[0]] for row in rows}) < len(rows):
        return None
    kind = words.rng.choice(("max_of", "min_of"))
    choose = max if kind == "max_of" else min
    return speaker.say(kind, a=numbers[0], json=pasted(rows, words)), choose(rows, key=lambda row: row[numbers[0]])


def _index_by(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, _, texts = rows_of(words)
    if not texts or len(rows[0]) < 2 or len({row[texts[0]] for row in rows}) < len(rows):
        return None
    key, keep = texts[0], words.rng.random() < 0.3
    if keep:
        return None
    return speaker.say("index_by", a=key, json=pasted(rows, words)), {
        row[key]: {each: value for each, value in row.items() if each != key} for row in rows
    }


def _to_map(words: Vocabulary, speaker: Speaker) -> Made | None:
    rows, who, what = people(words)
    if words.rng.random() < 0.5:
        rows = [{who: row[who], "score": words.rng.randint(1, 90)} for row in rows]
        what = "score"
    return speaker.say("to_map", a=who, b=what, json=pasted(rows, words)), {row[who]: row[what] for row in rows}


def _change_number(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    rows, numbers, _ = rows_of(words)
    whole = [key for key in numbers if all(isinstance(row[key], int) for row in rows)]
    if not whole:
        return None
    key, by = whole[0], rng.choice((1, 2, 5, 10))
    if rng.random() < 0.3:
        return speaker.say("double", a=key, json=pasted(rows, words)), [row | {key: row[key] * 2} for row in rows]
    return speaker.say("increase", a=key, n=str(by), json=pasted(rows, words)), [
        row | {key: row[key] + by} for row in rows
    ]


def _each(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    rows, _, _ = rows_of(words)
    if rng.random() < 0.5 and len(rows[0]) > 1:
        key = rng.choice(list(rows[0]))
        return speaker.say("drop_from_each", a=key, json=pasted(rows, words)), [
            {k: v for k, v in row.items() if k != key} for row in rows
        ]
    key = rng.choice(("enabled", "checked", "status", "source", "group", "level"))
    if key in rows[0]:
        return None
    value = new_value(key, words)
    return speaker.say("add_to_each", a=key, v=dump(value), json=pasted(rows, words)), [
        row | {key: value} for row in rows
    ]


def _number_them(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    rows, _, _ = rows_of(words)
    key, start = rng.choice(("id", "nr", "position", "index", "rank")), rng.choice((0, 1, 1, 10, 100))
    if key in rows[0]:
        return None
    found = [row | {key: start + number} for number, row in enumerate(rows)]
    return speaker.say("number_them", a=key, n=str(start), m=str(start + 1), json=pasted(rows, words)), found


def simple_list(words: Vocabulary) -> list[Any]:
    rng = words.rng
    if rng.random() < 0.5:
        return [rng.randint(-5, 90) for _ in range(rng.randint(3, 6))]
    return list(any_words(rng, rng.randint(3, 5)))


def _cut(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    items = simple_list(words) if rng.random() < 0.6 else rows_of(words, least=3)[0]
    count, kind = rng.randint(1, len(items) - 1), rng.choice(("first_n", "last_n"))
    said = ("one", "two", "three", "four", "five")[count - 1] if rng.random() < 0.5 else str(count)
    return speaker.say(kind, n=said, json=pasted(items, words)), items[:count] if kind == "first_n" else items[-count:]


def _order(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    items = simple_list(words)
    kind = rng.choice(("reverse", "sort_list", "unique"))
    if kind == "reverse":
        return speaker.say(kind, json=pasted(items, words)), items[::-1]
    if kind == "unique":
        items = items + [rng.choice(items) for _ in range(rng.randint(1, 3))]
        items = rng.sample(items, len(items))
        return speaker.say(kind, json=pasted(items, words)), list(dict.fromkeys(items))
    if isinstance(items[0], str):
        items = [str(item).lower() for item in items]
    return speaker.say(kind, json=pasted(items, words)), sorted(items)


def _element(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    items = simple_list(words)
    number = rng.randrange(min(len(items), 4))
    said = "last" if number == len(items) - 1 and rng.random() < 0.5 else _NTH[number]
    new = rng.randint(0, 99) if isinstance(items[0], int) else rng.choice(pool("tag"))
    kind = rng.choice(("append", "prepend", "delete_nth", "replace_nth"))
    found = {
        "append": [*items, new],
        "prepend": [new, *items],
        "delete_nth": items[:number] + items[number + 1 :],
        "replace_nth": [*items[:number], new, *items[number + 1 :]],
    }
    return speaker.say(kind, v=dump(new), n=said, json=pasted(items, words)), found[kind]


def _zip(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    first = any_words(rng, rng.randint(2, 4))
    second = [rng.randint(1, 90) for _ in first]
    if rng.random() < 0.5:
        return speaker.say("zip_map", json=pasted(first, words), other=dump(second)), dict(
            zip(first, second, strict=True)
        )
    a, b = rng.choice((("name", "value"), ("label", "count"), ("item", "price"), ("key", "amount"), ("who", "points")))
    found = [{a: left, b: right} for left, right in zip(first, second, strict=True)]
    return speaker.say("zip", a=a, b=b, json=pasted(first, words), other=dump(second)), found


def _pairs(words: Vocabulary, speaker: Speaker) -> Made | None:
    mapping = counts(words)
    pairs = [[key, value] for key, value in mapping.items()]
    if words.rng.random() < 0.5:
        return speaker.say("pairs_to", json=pasted(pairs, words)), mapping
    return speaker.say("to_pairs", json=pasted(mapping, words)), pairs


def _join(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    parts = [[rng.randint(0, 60) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(2, 3))]
    if rng.random() < 0.5:
        return speaker.say("flat_list", json=pasted(parts, words)), [each for part in parts for each in part]
    first, second = simple_list(words), simple_list(words)
    return speaker.say("concat", json=pasted(first, words), other=dump(second)), first + second


def _null_in_list(words: Vocabulary, speaker: Speaker) -> Made | None:
    rng = words.rng
    items = [None if rng.random() < 0.4 else rng.randint(1, 50) for _ in range(rng.randint(3, 6))]
    if None not in items:
        return None
    value = rng.choice((-1, "", "none", draw_value("id 90 99", rng).data))
    if rng.random() < 0.5:
        return speaker.say("null_to", v=dump(value), json=pasted(items, words)), [
            value if each is None else each for each in items
        ]
    return speaker.say("drop_null", json=pasted(items, words)), [each for each in items if each is not None]


Change = Callable[[Vocabulary, Speaker], Made | None]
_CHANGES: tuple[Change, ...] = (
    _pluck,
    _pluck,
    _filter,
    _filter,
    _filter_equal,
    _sort,
    _sort,
    _group,
    _group,
    _count_by,
    _sum,
    _extreme,
    _index_by,
    _to_map,
    _change_number,
    _each,
    _number_them,
    _cut,
    _order,
    _element,
    _zip,
    _pairs,
    _join,
    _null_in_list,
)
