"""JSON that a sentence describes: ranges, grids, lists, small objects, parts of a date, of a color, of an amount."""

import random
from collections.abc import Callable
from typing import Any

from xpm_build.domains.everyday.json_extract import Made, dump
from xpm_build.domains.everyday.json_notations import any_words
from xpm_build.domains.everyday.values import draw_value, listed, pool
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

_KNOWN = {
    "the months of the year": pool("month"),
    "the four seasons, spring first": ("spring", "summer", "autumn", "winter"),
    "the days of the weekend": ("Saturday", "Sunday"),
    "the planets from the sun outwards": pool("planet"),
    "the vowels a to u": ("a", "e", "i", "o", "u"),
    "the primary colors red, yellow and blue": ("red", "yellow", "blue"),
    "the first five letters of the alphabet": ("a", "b", "c", "d", "e"),
    "the first three months": ("January", "February", "March"),
    "the last three months of the year": ("October", "November", "December"),
    "the four compass points north, east, south, west": ("north", "east", "south", "west"),
    "the chess pieces king, queen, rook, bishop, knight, pawn": ("king", "queen", "rook", "bishop", "knight", "pawn"),
    "the card suits clubs, diamonds, hearts, spades": ("clubs", "diamonds", "hearts", "spades"),
    "the traffic light colors from top to bottom": ("red", "yellow", "green"),
    "all weekdays and the weekend, starting on Monday": pool("weekday"),
    "the letters x, y and z": ("x", "y", "z"),
    "the digits as strings": tuple("0123456789"),
    "the Olympic medals, best first": ("gold", "silver", "bronze"),
    "the Beatles by first name (John, Paul, George, Ringo)": ("John", "Paul", "George", "Ringo"),
    "the shirt sizes S to XL": ("S", "M", "L", "XL"),
    "the HTTP methods GET, POST, PUT and DELETE": ("GET", "POST", "PUT", "DELETE"),
}
_THINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "a circle": (("x", "id 0 50"), ("y", "id 0 50"), ("radius", "id 1 30")),
    "a rectangle": (("width", "id 1 90"), ("height", "id 1 90")),
    "a rectangle in red": (("width", "id 1 90"), ("height", "id 1 90"), ("filled", "bool")),
    "a line": (("x1", "id 0 9"), ("y1", "id 0 9"), ("x2", "id 10 90"), ("y2", "id 10 90")),
    "a user": (("name", "first_name"), ("age", "id 18 80"), ("admin", "bool")),
    "a product": (("name", "product"), ("price", "money 2 90"), ("in_stock", "bool")),
    "a window": (("title", "book"), ("width", "id 200 1900"), ("height", "id 100 1000")),
    "a server config": (("host", "server"), ("port", "id 1000 9999"), ("tls", "bool")),
    "a database connection": (
        ("host", "server"),
        ("port", "id 1000 9999"),
        ("user", "first_name"),
        ("pool_size", "id 1 20"),
    ),
    "a pizza": (("size", "choice small|medium|large"), ("toppings", "list ingredient 2 3"), ("price", "money 6 18")),
    "a dice roll": (("sides", "id 6 20"), ("value", "id 1 6")),
    "a timer": (("minutes", "id 1 59"), ("seconds", "id 0 59"), ("running", "bool")),
    "a chess move": (("from", "choice e2|d2|g1|b1|c2"), ("to", "choice e4|d4|f3|c3|c4")),
    "a playing card": (("suit", "choice hearts|spades|clubs|diamonds"), ("rank", "choice ace|king|queen|jack|ten")),
    "a house": (("floors", "id 1 9"), ("color", "color"), ("has_garage", "bool")),
    "a to-do item": (("task", "action"), ("done", "bool"), ("priority", "id 1 5")),
    "a font": (("family", "choice Arial|Georgia|Courier|Verdana"), ("size", "id 8 40"), ("bold", "bool")),
    "a vector": (("x", "id -9 9"), ("y", "id -9 9"), ("z", "id -9 9")),
    "a page of results": (("page", "id 1 40"), ("per_page", "id 10 100"), ("total", "id 100 9000")),
    "a cron job": (("name", "service"), ("hour", "id 0 23"), ("minute", "id 0 59"), ("enabled", "bool")),
}
_OF_NUMBER: dict[str, Callable[[int], Any]] = {
    "doubles": lambda n: n * 2,
    "cubes": lambda n: n**3,
    "halves times ten": lambda n: n * 5,
    "negatives": lambda n: -n,
    "names in English": lambda n: ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[n],
    "parity (true if even)": lambda n: n % 2 == 0,
}


def write_json(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    makers = (_list_of, _list_of) if speaker.language != "en" else _WRITERS
    return rng.choice(makers)(words, speaker)


def _range(words: Vocabulary, speaker: Speaker) -> Made:
    first, count = words.rng.randint(0, 30), words.rng.randint(3, 9)
    return speaker.say("of_range", a=str(first), b=str(first + count)), list(range(first, first + count + 1))


def _step(words: Vocabulary, speaker: Speaker) -> Made:
    step, first, count = words.rng.choice((4, 5, 6, 7, 8, 9, 10, 20)), words.rng.randint(1, 9), words.rng.randint(3, 6)
    numbers = [step * (first + each) for each in range(count)]
    return speaker.say("of_step", a=str(numbers[0]), b=str(numbers[-1]), c=str(numbers[1]), n=str(step)), numbers


def _anything(rng: random.Random) -> Any:
    return rng.choice((1, "", "x", None, True, False, -1, "-", "empty", "todo", 0.5))


def _repeat(words: Vocabulary, speaker: Speaker) -> Made:
    count, value = words.rng.randint(2, 7), _anything(words.rng)
    return speaker.say("of_repeat", n=str(count), v=dump(value)), [value] * count


def _grid(words: Vocabulary, speaker: Speaker) -> Made:
    rows, columns, value = (
        words.rng.randint(2, 4),
        words.rng.randint(2, 5),
        words.rng.choice((0, 1, None, False, ".", "-")),
    )
    return speaker.say("of_grid", a=str(rows), b=str(columns), v=dump(value)), [[value] * columns for _ in range(rows)]


def _list_of(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    items = any_words(rng, rng.randint(2, 5))
    told = listed(items, speaker.language) if rng.random() < 0.6 else rng.choice((", ", "; ", " / ", "\n")).join(items)
    if speaker.language == "en" and rng.random() < 0.4:
        name = rng.choice(("items", "names", "list", "values", "options", "choices", "things", "tags"))
        return speaker.say("of_list_under", a=name, items=told), {name: items}
    return speaker.say("of_list", items=told), items


def _thing(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    thing = rng.choice(list(_THINGS))
    values = {key: draw_value(type_, rng) for key, type_ in _THINGS[thing]}
    style = rng.choice(("{k} {v}", "{k} = {v}", "{k}: {v}", "{k} is {v}"))
    told = [style.replace("{k}", key).replace("{v}", dump(value.data)) for key, value in values.items()]
    text = listed(told) if rng.random() < 0.5 else ", ".join(told)
    return speaker.say("of_pairs", thing=thing, facts=text), {key: value.data for key, value in values.items()}


def _empty(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    if rng.random() < 0.25:
        thing, nothing = rng.choice((("array", []), ("list", []), ("string", "")))
        return speaker.say("of_empty", thing=thing), nothing
    keys = rng.sample(
        ("name", "email", "phone", "street", "city", "zip", "notes", "birthday", "company", "website"),
        rng.randint(2, 5),
    )
    value = rng.choice((None, "", 0, False))
    return speaker.say("of_object_empty", items=listed(keys), v=dump(value)), dict.fromkeys(keys, value)


def _known(words: Vocabulary, speaker: Speaker) -> Made:
    thing = words.rng.choice(list(_KNOWN))
    return speaker.say("of_known", thing=thing), list(_KNOWN[thing])


def _table(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    thing = rng.choice(list(_OF_NUMBER))
    first = rng.randint(0, 4)
    last = first + rng.randint(2, 5)
    found = {str(number): _OF_NUMBER[thing](number) for number in range(first, last + 1)}
    return speaker.say("of_table", a=str(first), b=str(last), c=dump(found[str(first)]), thing=thing), found


def _parts(words: Vocabulary, speaker: Speaker) -> Made:
    """One text that has parts: a time, a date, an amount, a size, a version, coordinates, a color."""
    rng = words.rng
    kind = rng.choice(("of_clock", "of_date", "of_money", "of_geo", "of_size", "of_version", "of_color"))
    if kind == "of_clock":
        hour, minute = rng.randint(0, 23), rng.randint(0, 59)
        return speaker.say(kind, text=f"{hour:02}:{minute:02}"), {"hour": hour, "minute": minute}
    if kind == "of_date":
        date = draw_value("date", rng)
        year, month, day = (int(each) for each in str(date.formed).split("-"))
        return speaker.say(kind, text=date.said), {"year": year, "month": month, "day": day}
    if kind == "of_money":
        amount, currency = draw_value("money 1 900", rng), rng.choice(pool("currency"))
        text = rng.choice((f"{amount.said} {currency}", f"{currency} {amount.said}"))
        return speaker.say(kind, text=text), {"amount": amount.data, "currency": currency}
    if kind == "of_geo":
        lat, lon = round(rng.uniform(-60, 65), 2), round(rng.uniform(-170, 170), 2)
        return speaker.say(kind, text=f"{lat}, {lon}"), {"lat": lat, "lon": lon}
    if kind == "of_size":
        width, height = rng.choice((1920, 1280, 800, 640, 300, 512)), rng.choice((1080, 720, 600, 480, 250, 256))
        return speaker.say(kind, text=f"{width}{rng.choice(('x', ' x ', ' by '))}{height}"), {
            "width": width,
            "height": height,
        }
    if kind == "of_version":
        major, minor, patch = rng.randint(0, 12), rng.randint(0, 30), rng.randint(0, 20)
        return speaker.say(kind, text=f"{rng.choice(('', 'v'))}{major}.{minor}.{patch}"), {
            "major": major,
            "minor": minor,
            "patch": patch,
        }
    hue, saturation, light = rng.randint(0, 359), rng.randint(0, 100), rng.randint(0, 100)
    found = {"h": hue, "s": saturation, "l": light}
    return speaker.say(kind, text=f"hsl({hue}, {saturation}%, {light}%)", a="h, s, l"), found


def _quote(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    name, word = rng.choice(pool("first_name")), rng.choice(pool("tag"))
    text = rng.choice(
        (
            f'{name} wrote "{word}" on the door.',
            f'The sign says "closed until {rng.choice(pool("weekday"))}".',
            f'"Wait," said {name}.',
            f'Use the tag "{word}", please.',
            f"C:\\{word}\\{name.lower()}.txt",
        )
    )
    key = rng.choice(("text", "quote", "line", "sentence", "message"))
    return speaker.say("of_quote", a=key, text=text), {key: text}


_WRITERS: tuple[Callable[[Vocabulary, Speaker], Made], ...] = (
    _range,
    _step,
    _repeat,
    _grid,
    _list_of,
    _list_of,
    _thing,
    _thing,
    _thing,
    _empty,
    _known,
    _table,
    _parts,
    _parts,
    _quote,
)
