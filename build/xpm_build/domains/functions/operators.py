"""Tests and changes of one item, how they are said, and the items that tell a right one from a wrong one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpm_build.domains.functions.task import Author, Text, operand_of
from xpm_build.judges.code import Fields

# kind -> (type of item, type of operand or "", code). {x} is the item, {s} the item as a receiver, {n} the operand.
_TESTS: dict[str, tuple[str, str, Text]] = {
    "gt": ("int", "int", Text("{x} > {n}", "{x} > {n}", "{x} > {n}")),
    "lt": ("int", "int", Text("{x} < {n}", "{x} < {n}", "{x} < {n}")),
    "ge": ("int", "int", Text("{x} >= {n}", "{x} >= {n}", "{x} >= {n}")),
    "le": ("int", "int", Text("{x} <= {n}", "{x} <= {n}", "{x} <= {n}")),
    "eq": ("int", "int", Text("{x} == {n}", "{x} === {n}", "{x} == {n}")),
    "ne": ("int", "int", Text("{x} != {n}", "{x} !== {n}", "{x} != {n}")),
    "even": ("int", "", Text("{x} % 2 == 0", "{x} % 2 === 0", "{x} % 2 == 0")),
    "odd": ("int", "", Text("{x} % 2 != 0", "{x} % 2 !== 0", "{x} % 2 != 0")),
    "div": ("int", "int", Text("{x} % {n} == 0", "{x} % {n} === 0", "{x} % {n} == 0")),
    "positive": ("int", "", Text("{x} > 0", "{x} > 0", "{x} > 0")),
    "negative": ("int", "", Text("{x} < 0", "{x} < 0", "{x} < 0")),
    "starts": ("str", "str", Text("{s}.startswith({n})", "{s}.startsWith({n})", "{s}.starts_with({r})")),
    "ends": ("str", "str", Text("{s}.endswith({n})", "{s}.endsWith({n})", "{s}.ends_with({r})")),
    "contains": ("str", "str", Text("{n} in {x}", "{s}.includes({n})", "{s}.contains({r})")),
    "text_eq": ("str", "str", Text("{x} == {n}", "{x} === {n}", "{x} == {n}")),
    "text_ne": ("str", "str", Text("{x} != {n}", "{x} !== {n}", "{x} != {n}")),
    "longer": ("str", "int", Text("len({x}) > {n}", "{s}.length > {n}", "{s}.len() as i64 > {n}")),
    "shorter": ("str", "int", Text("len({x}) < {n}", "{s}.length < {n}", "({s}.len() as i64) < {n}")),
}
_CHANGES: dict[str, tuple[str, str, str, Text]] = {  # kind -> (type of item, of operand, of result, code)
    "add": ("int", "int", "int", Text("{x} + {n}", "{x} + {n}", "{x} + {n}")),
    "sub": ("int", "int", "int", Text("{x} - {n}", "{x} - {n}", "{x} - {n}")),
    "mul": ("int", "int", "int", Text("{x} * {n}", "{x} * {n}", "{x} * {n}")),
    "square": ("int", "", "int", Text("{x} * {x}", "{x} * {x}", "{x} * {x}")),
    "neg": ("int", "", "int", Text("-{x}", "-{x}", "-{x}")),
    "abs": ("int", "", "int", Text("abs({x})", "Math.abs({x})", "{x}.abs()")),
    "upper": ("str", "", "str", Text("{x}.upper()", "{x}.toUpperCase()", "{x}.to_uppercase()")),
    "lower": ("str", "", "str", Text("{x}.lower()", "{x}.toLowerCase()", "{x}.to_lowercase()")),
    "strip": ("str", "", "str", Text("{x}.strip()", "{x}.trim()", "{x}.trim().to_string()")),
    "reverse": (
        "str",
        "",
        "str",
        Text("{x}[::-1]", '{x}.split("").reverse().join("")', "{x}.chars().rev().collect::<String>()"),
    ),
    "length": ("str", "", "int", Text("len({x})", "{x}.length", "{x}.len() as i64")),
    "prefix": ("str", "str", "str", Text("{n} + {x}", "{n} + {x}", 'format!("{}{}", {n}, {x})')),
    "suffix": ("str", "str", "str", Text("{x} + {n}", "{x} + {n}", 'format!("{}{}", {x}, {n})')),
}


@dataclass(frozen=True, slots=True)
class Test:
    """A predicate: how it is said of many (``are``) and of one (``is``), and its code for items
    by reference and by value."""

    are: str
    is_: str
    by_ref: Text
    by_value: Text
    params: Fields
    kind: str
    near: list[Any]
    """Values that tell the predicate from its neighbours."""
    values: list[Any]


def draw_test(author: Author, type_: str, *, item: str = "x", single: bool = False) -> Test:
    rng = author.words.rng
    kind = rng.choice([kind for kind, (of, _, _) in _TESTS.items() if of == type_])
    _, operand_type, code = _TESTS[kind]
    spoken = kind.removeprefix("text_")
    low = 2 if kind == "div" else 0
    high = 9 if kind in ("div", "longer", "shorter") else 100
    operand = operand_of(author, operand_type, low=low, high=high) if operand_type else None
    said = {"n": operand.said} if operand else {}
    many = not single
    are = author.speaker.say(f"are_{spoken}", **said) if many else ""
    is_ = "" if many else author.speaker.say(f"is_{spoken}", **said)
    values = {"s": item, "n": operand.code, "r": operand.borrowed} if operand else {"s": item}
    dereferenced = Text(item, item, f"*{item}" if item == "x" else item)
    value = operand.value if operand else 0
    near = _near(author, type_, kind, value)
    by_ref, by_value = code.fill(x=dereferenced, **values), code.fill(x=item, **values)
    params = operand.params if operand else ()
    return Test(are, is_, by_ref, by_value, params, kind, near, [value] if params else [])


def _near(author: Author, type_: str, kind: str, value: Any) -> list[Any]:
    if type_ == "int":
        step = value if kind == "div" else 1
        return [value, value + 1, value - 1, value + 7, value - 7, 2 * step, 3 * step, -value, 0]
    word = author.words.invented(author.words.rng)
    if isinstance(value, str):
        return [value, value + word, word + value, word, f"{word}{value}{word}", ""]
    return [word[:1] * each for each in (value, value + 1, max(0, value - 1))] + [word, word + word, ""]


def draw_items(author: Author, type_: str, near: list[Any], *, least: int = 0) -> Callable[[], list[Any]]:
    """Draws a list of items, many of them near what matters."""
    rng = author.words.rng

    def draw() -> list[Any]:
        return [
            rng.choice(near) if near and rng.random() < 0.7 else plain_item(author, type_)
            for _ in range(rng.randint(max(least, 1) if rng.random() < 0.85 else least, 6))
        ]

    return draw


def plain_item(author: Author, type_: str) -> Any:
    rng = author.words.rng
    if type_ == "int":
        return rng.randint(-20, 60)
    word = author.words.invented(rng)
    return rng.choice((word, word.upper(), f" {word} ", word.capitalize()))


def draw_change(author: Author, type_: str) -> tuple[str, Text, str, Fields, list[Any]]:
    """A change of an item: (how it is said, code over ``x``, type of the result, parameters, their values)."""
    kind = author.words.rng.choice([kind for kind, (of, _, _, _) in _CHANGES.items() if of == type_])
    _, operand_type, result, code = _CHANGES[kind]
    operand = operand_of(author, operand_type, low=1) if operand_type else None
    said = author.speaker.say(f"by_{kind}", **({"n": operand.said} if operand else {}))
    filled = code.fill(n=operand.code) if operand else code
    return (
        said,
        filled,
        result,
        operand.params if operand else (),
        [operand.value] if operand and operand.params else [],
    )


def bound(code: Text, item: str) -> Text:
    return code.fill(x=item)


def draw_tests(author: Author, type_: str) -> Test:
    """One predicate, sometimes two joined by and/or."""
    first = draw_test(author, type_)
    if author.words.rng.random() > 0.15:
        return first
    second = draw_test(author, type_)
    if second.kind == first.kind:
        return first
    word, python, other = author.words.rng.choice((("both", "and", "&&"), ("either", "or", "||")))
    joined = Text(f"{{p}} {python} {{q}}", f"{{p}} {other} {{q}}", f"{{p}} {other} {{q}}")
    return Test(
        f"{first.are} {author.speaker.say(word)} {second.are}",
        "",
        joined.fill(p=first.by_ref, q=second.by_ref),
        joined.fill(p=first.by_value, q=second.by_value),
        first.params + second.params,
        "",
        first.near + second.near,
        first.values + second.values,
    )
