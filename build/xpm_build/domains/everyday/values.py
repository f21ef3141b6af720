"""Typed values of everyday texts: names, dates, prices, codes, each as JSON has it and as people write it.

A type is a word with arguments, as ``int 2 9``, ``code AA-###``, ``list color 2 4`` or the name of
a list in ``pools.toml``.
"""

import random
import re
import string
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_POOLS = Path(__file__).with_name("pools.toml")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_AND = {"en": "and", "de": "und", "fr": "et", "es": "y", "it": "e", "pt": "e"}
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
}
ISO_DATE, CLOCK, AS_STRING = "YYYY-MM-DD", "HH:MM", "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """
    data: the JSON value of what is written, word for word where it is a text.
    said: how a text writes it.
    kind: string, integer, number, boolean or array.
    hint: the form in which a request may want it, and ``formed`` it in that form.
    needs_hint: nobody could tell its form without being told.
    """

    data: Any
    said: str
    kind: str = "string"
    hint: str = ""
    formed: Any = None
    needs_hint: bool = False


def draw_value(type_: str, rng: random.Random, language: str = "en") -> Value:
    """A value of a type."""
    name, *arguments = type_.split()
    if name in _DRAW:
        return _DRAW[name](rng, language, arguments)
    word = rng.choice(pool(name))
    return Value(data=word, said=word)


@cache
def pool(name: str) -> tuple[str, ...]:
    return tuple(_pools()[name].split("|"))


@cache
def _pools() -> dict[str, str]:
    return tomllib.loads(_POOLS.read_text(encoding="utf-8"))


def _text(text: str) -> Value:
    return Value(data=text, said=text)


def _integer(rng: random.Random, language: str, arguments: list[str]) -> Value:
    number = rng.randint(int(arguments[0]), int(arguments[1]))
    said = f"{number:,}" if number > 999 and language == "en" and rng.random() < 0.3 else str(number)
    return Value(data=number, said=said, kind="integer")


def _identifier(rng: random.Random, language: str, arguments: list[str]) -> Value:
    number = rng.randint(int(arguments[0]), int(arguments[1]))
    return Value(data=number, said=str(number), kind="integer")


def _count(rng: random.Random, language: str, arguments: list[str]) -> Value:
    number = rng.randint(int(arguments[0]), int(arguments[1]))
    in_words = language == "en" and number < len(_NUMBER_WORDS) and rng.random() < 0.35
    return Value(data=number, said=_NUMBER_WORDS[number] if in_words else str(number), kind="integer")


def _decimal(rng: random.Random, language: str, arguments: list[str]) -> Value:
    number = round(rng.uniform(float(arguments[0]), float(arguments[1])), 1)
    return Value(data=number, said=_comma(f"{number:.1f}", language), kind="number")


def _money(rng: random.Random, language: str, arguments: list[str]) -> Value:
    low, high = (int(each) for each in arguments)
    if rng.random() < 0.3:
        return _integer(rng, language, arguments) if low else _identifier(rng, language, arguments)
    cents = rng.choice((0, 20, 49, 50, 75, 80, 90, 95, 99, rng.randint(1, 99)))
    number = rng.randint(low, high - 1) + cents / 100
    return Value(data=number, said=_comma(f"{number:.2f}", language), kind="number")


def _comma(text: str, language: str) -> str:
    return text if language == "en" else text.replace(".", ",")


def _date(rng: random.Random, language: str, arguments: list[str]) -> Value:
    first, last = (int(each) for each in arguments or ("2019", "2026"))
    year, month, day = rng.randint(first, last), rng.randint(1, 12), rng.randint(1, 28)
    iso = f"{year}-{month:02}-{day:02}"
    name = _MONTHS[language].split()[month - 1]
    if rng.random() < 0.4:
        said = iso
    elif language == "en":
        forms = (
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{day} {name[:3]} {year}",
            f"{name} {day}{_th(day)}, {year}",
        )
        said = rng.choice(forms)
    elif language == "de":
        said = rng.choice((f"{day}. {name} {year}", f"{day:02}.{month:02}.{year}"))
    else:
        of = {"fr": " ", "it": " ", "es": " de ", "pt": " de "}[language]
        said = f"{day}{of}{name}{of}{year}"
    return Value(data=said, said=said, hint=ISO_DATE, formed=iso)


def _th(day: int) -> str:
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _time(rng: random.Random, language: str, arguments: list[str]) -> Value:
    hour, minute = rng.randint(6, 22), rng.choice((0, 0, 15, 30, 30, 45, rng.randint(1, 59)))
    clock = f"{hour:02}:{minute:02}"
    said = clock
    if language == "en" and rng.random() < 0.3:
        noon = "am" if hour < 12 else "pm"
        twelve = hour if hour <= 12 else hour - 12
        said = f"{twelve} {noon}" if minute == 0 else f"{twelve}:{minute:02} {noon}"
    return Value(data=said, said=said, hint=CLOCK, formed=clock, needs_hint=said != clock)


def _digits(rng: random.Random, language: str, arguments: list[str]) -> Value:
    text = "".join(rng.choice("123456789" if number == 0 else string.digits) for number in range(int(arguments[0])))
    return Value(data=text, said=text, hint=AS_STRING, formed=text, needs_hint=True)


def _code(rng: random.Random, language: str, arguments: list[str]) -> Value:
    """``A`` stands for a letter, ``#`` for a digit."""
    draw = {"A": string.ascii_uppercase, "#": string.digits}
    return _text("".join(rng.choice(draw.get(each, each)) for each in arguments[0]))


def _choice(rng: random.Random, language: str, arguments: list[str]) -> Value:
    return _text(rng.choice(" ".join(arguments).split("|")))


def _pick(rng: random.Random, language: str, arguments: list[str]) -> Value:
    number = rng.choice(arguments[0].split("|"))
    return Value(data=int(number), said=number, kind="integer")


def _boolean(rng: random.Random, language: str, arguments: list[str]) -> Value:
    value = rng.random() < 0.5
    return Value(data=value, said="true" if value else "false", kind="boolean")


def _full_name(rng: random.Random, language: str, arguments: list[str]) -> Value:
    return _text(f"{rng.choice(pool('first_name'))} {rng.choice(pool('last_name'))}")


def _email(rng: random.Random, language: str, arguments: list[str]) -> Value:
    first, last = rng.choice(pool("first_name")).lower(), re.sub(r"\W", "", rng.choice(pool("last_name")).lower())
    user = rng.choice((first, f"{first}.{last}", f"{first[0]}{last}", rng.choice(("info", "sales", "help", "office"))))
    return _text(f"{user}@{_domain(rng)}")


def _domain(rng: random.Random) -> str:
    host = rng.choice(
        ("example", "mailbox", "greenfield", "kestrel", "nordic", "summit", "oakwood", "post", "studio9", "uni")
    )
    return f"{host}.{rng.choice(('com', 'org', 'net', 'de', 'fr', 'io', 'co.uk', 'it', 'es'))}"


def _url(rng: random.Random, language: str, arguments: list[str]) -> Value:
    path = rng.choice(("", "/shop", "/news/12", "/about", "/docs/start", "/img/logo.png"))
    return _text(f"{rng.choice(('https', 'https', 'http'))}://{rng.choice(('', 'www.'))}{_domain(rng)}{path}")


def _phone(rng: random.Random, language: str, arguments: list[str]) -> Value:
    def digits(count: int) -> str:
        return "".join(rng.choice(string.digits) for _ in range(count))

    forms = (
        f"+{rng.choice((33, 34, 39, 43, 44, 49, 351))} {rng.randint(10, 99)} {digits(3)} {digits(4)}",
        f"0{rng.randint(10, 99)} {digits(4)} {digits(3)}",
        f"555-{digits(4)}",
        f"({rng.randint(200, 989)}) {digits(3)}-{digits(4)}",
    )
    return _text(rng.choice(forms))


def _list(rng: random.Random, language: str, arguments: list[str]) -> Value:
    *type_, least, most = arguments
    count = rng.randint(int(least), int(most))
    found: dict[str, Value] = {}
    while len(found) < count:
        value = draw_value(" ".join(type_), rng, language)
        found.setdefault(value.said, value)
    return Value(data=[each.data for each in found.values()], said=listed(list(found), language), kind="array")


def listed(texts: list[str], language: str = "en") -> str:
    """Texts as a sentence lists them."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {_AND[language]} {texts[-1]}"


_DRAW: dict[str, Callable[[random.Random, str, list[str]], Value]] = {
    "int": _integer,
    "id": _identifier,
    "count": _count,
    "dec": _decimal,
    "money": _money,
    "date": _date,
    "time": _time,
    "digits": _digits,
    "code": _code,
    "choice": _choice,
    "pick": _pick,
    "bool": _boolean,
    "full_name": _full_name,
    "email": _email,
    "url": _url,
    "phone": _phone,
    "list": _list,
}
