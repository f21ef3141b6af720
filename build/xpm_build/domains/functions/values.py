"""Tasks about single values: arithmetic, tests, choices."""

from typing import Any

from xpm_build.domains.functions.operators import draw_test
from xpm_build.domains.functions.task import Author, Task, Text, operand_of

_SCALARS: dict[str, tuple[int, Text]] = {  # kind -> (number of parameters, code)
    "add": (2, Text("return {a} + {b}", "return {a} + {b};", "{a} + {b}")),
    "sub": (2, Text("return {a} - {b}", "return {a} - {b};", "{a} - {b}")),
    "mul": (2, Text("return {a} * {b}", "return {a} * {b};", "{a} * {b}")),
    "mul_add": (2, Text("return {a} * {b} + {n}", "return {a} * {b} + {n};", "{a} * {b} + {n}")),
    "add_mul": (2, Text("return ({a} + {b}) * {n}", "return ({a} + {b}) * {n};", "({a} + {b}) * {n}")),
    "larger": (2, Text("return max({a}, {b})", "return Math.max({a}, {b});", "{a}.max({b})")),
    "smaller": (2, Text("return min({a}, {b})", "return Math.min({a}, {b});", "{a}.min({b})")),
    "distance": (2, Text("return abs({a} - {b})", "return Math.abs({a} - {b});", "({a} - {b}).abs()")),
    "clamp": (
        3,
        Text("return max({b}, min({a}, {c}))", "return Math.max({b}, Math.min({a}, {c}));", "{a}.min({c}).max({b})"),
    ),
}


def arithmetic(author: Author) -> Task:
    rng = author.words.rng
    kind = rng.choice(list(_SCALARS))
    count, code = _SCALARS[kind]
    names = [author.number() for _ in range(count)]
    named = dict(zip("abc", names, strict=False))
    operand = operand_of(author, "int", low=1) if "{n}" in code.python else None
    said = {"n": operand.said} if operand else {}

    def arguments() -> list[Any]:
        values = [rng.randint(-30, 60) for _ in range(count)]
        return [values[0], *sorted(values[1:]), *([operand.value] if operand and operand.params else [])]

    return Task(
        does=author.speaker.say(kind, **named, **said),
        params=(*((name, "int") for name in names), *(operand.params if operand else ())),
        returns="int",
        body=code.fill(**named, n=operand.code if operand else ""),
        draw_arguments=arguments,
    )


def test_value(author: Author) -> Task:
    """A test of one value, or a choice by it."""
    rng = author.words.rng
    type_ = rng.choice(("int", "int", "str"))
    name = author.number() if type_ == "int" else author.text()
    test = draw_test(author, type_, item=name, single=True)

    def arguments() -> list[Any]:
        return [rng.choice(test.near), *test.values]

    params = ((name, type_), *test.params)
    if rng.random() < 0.5:
        return Task(
            does=author.speaker.say("test", a=name, one_pred=test.is_),
            params=params,
            returns="bool",
            body=Text("return {p}", "return {p};", "{p}").fill(p=test.by_value),
            draw_arguments=arguments,
        )
    numeric = rng.random() < 0.3
    yes, no = (str(rng.randint(0, 50)) for _ in range(2)) if numeric else (author.words.invented(rng) for _ in range(2))
    code = Text(
        "return {yes} if {p} else {no}",
        "return {p} ? {yes} : {no};",
        "if {p} {\n    {yes}\n} else {\n    {no}\n}"
        if numeric
        else "if {p} {\n    {yes}.to_string()\n} else {\n    {no}.to_string()\n}",
    )
    coded = (yes, no) if numeric else (f'"{yes}"', f'"{no}"')
    return Task(
        does=author.speaker.say("choose", a=name, one_pred=test.is_, yes=coded[0], no=coded[1]),
        params=params,
        returns="int" if numeric else "str",
        body=code.fill(p=test.by_value).fill(yes=coded[0], no=coded[1]),
        draw_arguments=arguments,
    )


def choose_of_three(author: Author) -> Task:
    rng, name = author.words.rng, author.number()
    high, low = rng.randint(40, 99), rng.randint(1, 39)
    yes, middle, no = author.words.distinct(3, lambda: author.words.invented(rng))
    body = Text(
        'if {a} > {h}:\n    return "{y}"\nif {a} < {l}:\n    return "{n}"\nreturn "{m}"',
        'if ({a} > {h}) {\n  return "{y}";\n}\nif ({a} < {l}) {\n  return "{n}";\n}\nreturn "{m}";',
        'if {a} > {h} {\n    "{y}".to_string()\n} else if {a} < {l} {\n    "{n}".to_string()\n} '
        'else {\n    "{m}".to_string()\n}',
    )
    return Task(
        does=author.speaker.say(
            "choose3", a=name, n=str(high), m=str(low), yes=f'"{yes}"', no=f'"{no}"', mid=f'"{middle}"'
        ),
        params=((name, "int"),),
        returns="str",
        body=body.fill(a=name, h=str(high), l=str(low), y=yes, n=no, m=middle),
        draw_arguments=lambda: [rng.choice((high, high + 1, low, low - 1, (high + low) // 2))],
    )
