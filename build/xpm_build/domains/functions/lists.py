"""Tasks about lists: keep, change, count, add up, sort, join."""

from functools import partial
from typing import Any

from xpm_build.domains.functions.operators import bound, draw_change, draw_items, draw_test, draw_tests, plain_item
from xpm_build.domains.functions.task import Author, Task, Text, fill, operand_of
from xpm_build.judges.code import Fields


def _list_test(author: Author, family: str, code: Text, returns: str, *, single: bool = False) -> Task:
    """A family that tests the items of one list; ``returns`` may hold ``{item}`` for their type."""
    type_ = author.words.rng.choice(("int", "int", "str"))
    items = author.items()
    test = draw_test(author, type_, single=True) if single else draw_tests(author, type_)
    does = author.speaker.say(family, items=items, pred=test.are, one_pred=test.is_, none=author.language.none)
    draw = draw_items(author, type_, test.near)
    return Task(
        does=does,
        params=((items, f"[{type_}]"), *test.params),
        returns=fill(returns, {"item": type_}),
        body=code.fill(items=items, p=test.by_ref, q=test.by_value),
        draw_arguments=lambda: [draw(), *test.values],
    )


filter_items = partial(
    _list_test,
    family="filter",
    returns="[{item}]",
    code=Text(
        "return [x for x in {items} if {p}]",
        "return {items}.filter((x) => {p});",
        "{items}.into_iter().filter(|x| {p}).collect()",
    ),
)
count_items = partial(
    _list_test,
    family="count",
    returns="int",
    code=Text(
        "return sum(1 for x in {items} if {p})",
        "return {items}.filter((x) => {p}).length;",
        "{items}.into_iter().filter(|x| {p}).count() as i64",
    ),
)
any_item = partial(
    _list_test,
    family="any",
    returns="bool",
    single=True,
    code=Text(
        "return any({q} for x in {items})", "return {items}.some((x) => {q});", "{items}.into_iter().any(|x| {q})"
    ),
)
all_items = partial(
    _list_test,
    family="all",
    returns="bool",
    code=Text(
        "return all({q} for x in {items})", "return {items}.every((x) => {q});", "{items}.into_iter().all(|x| {q})"
    ),
)
first_item = partial(
    _list_test,
    family="first",
    returns="{item}?",
    single=True,
    code=Text(
        "return next((x for x in {items} if {p}), None)",
        "return {items}.find((x) => {p});",
        "{items}.into_iter().find(|x| {p})",
    ),
)


def map_items(author: Author) -> Task:
    type_, items = author.words.rng.choice(("int", "str")), author.items()
    said, code, result, params, values = draw_change(author, type_)
    draw = draw_items(author, type_, [])
    return Task(
        does=author.speaker.say("map", items=items, mapped=said),
        params=((items, f"[{type_}]"), *params),
        returns=f"[{result}]",
        body=Text(
            "return [{m} for x in {items}]",
            "return {items}.map((x) => {m});",
            "{items}.into_iter().map(|x| {m}).collect()",
        )
        .fill(items=items, m=code)
        .fill(x="x"),
        draw_arguments=lambda: [draw(), *values],
    )


def filter_map(author: Author) -> Task:
    type_, items = author.words.rng.choice(("int", "str")), author.items()
    test = draw_test(author, type_)
    said, code, result, params, values = draw_change(author, type_)
    draw = draw_items(author, type_, test.near)
    body = Text(
        "return [{m} for x in {items} if {p}]",
        "return {items}.filter((x) => {p}).map((x) => {m});",
        "{items}.into_iter().filter(|x| {p}).map(|x| {m}).collect()",
    )
    return Task(
        does=author.speaker.say("filter_map", items=items, pred=test.are, mapped=said),
        params=((items, f"[{type_}]"), *test.params, *params),
        returns=f"[{result}]",
        body=body.fill(items=items, p=test.by_ref, m=bound(code, "x")),
        draw_arguments=lambda: [draw(), *test.values, *values],
    )


def sum_items(author: Author) -> Task:
    rng, items = author.words.rng, author.items()
    kind = rng.choice(("sum", "sum_filter", "sum_map"))
    params: Fields = ()
    values: list[Any] = []
    near: list[Any] = []
    if kind == "sum":
        does = author.speaker.say(kind, items=items)
        body = Text("return sum({items})", "return {items}.reduce((a, b) => a + b, 0);", "{items}.into_iter().sum()")
    elif kind == "sum_filter":
        test = draw_test(author, "int")
        does, near, params, values = (
            author.speaker.say(kind, items=items, pred=test.are),
            test.near,
            test.params,
            test.values,
        )
        body = Text(
            "return sum(x for x in {items} if {p})",
            "return {items}.filter((x) => {p}).reduce((a, b) => a + b, 0);",
            "{items}.into_iter().filter(|x| {p}).sum()",
        ).fill(p=test.by_ref)
    else:
        said, code, _, params, values = draw_change(author, "int")
        does = author.speaker.say(kind, items=items, mapped=said)
        body = Text(
            "return sum({m} for x in {items})",
            "return {items}.map((x) => {m}).reduce((a, b) => a + b, 0);",
            "{items}.into_iter().map(|x| {m}).sum()",
        ).fill(m=bound(code, "x"))
    draw = draw_items(author, "int", near)
    return Task(
        does=does,
        params=((items, "[int]"), *params),
        returns="int",
        body=body.fill(items=items),
        draw_arguments=lambda: [draw(), *values],
    )


# kind -> (types of item, result, code). {n} is a number of items or a text, where there is one.
_WHOLE_LIST: dict[str, tuple[str, str, Text]] = {
    "product": (
        "int",
        "int",
        Text(
            "result = 1\nfor x in {items}:\n    result *= x\nreturn result",
            "return {items}.reduce((a, b) => a * b, 1);",
            "{items}.into_iter().product()",
        ),
    ),
    "max": (
        "int",
        "int",
        Text("return max({items})", "return Math.max(...{items});", "{items}.into_iter().max().unwrap()"),
    ),
    "min": (
        "int",
        "int",
        Text("return min({items})", "return Math.min(...{items});", "{items}.into_iter().min().unwrap()"),
    ),
    "sort": (
        "int",
        "[int]",
        Text(
            "return sorted({items})",
            "return [...{items}].sort((a, b) => a - b);",
            "let mut sorted = {items};\nsorted.sort();\nsorted",
        ),
    ),
    "sort_desc": (
        "int",
        "[int]",
        Text(
            "return sorted({items}, reverse=True)",
            "return [...{items}].sort((a, b) => b - a);",
            "let mut sorted = {items};\nsorted.sort_by(|a, b| b.cmp(a));\nsorted",
        ),
    ),
    "largest": (
        "int",
        "[int]",
        Text(
            "return sorted({items}, reverse=True)[:{n}]",
            "return [...{items}].sort((a, b) => b - a).slice(0, {n});",
            "let mut sorted = {items};\nsorted.sort_by(|a, b| b.cmp(a));\nsorted.into_iter().take({u}).collect()",
        ),
    ),
    "unique": (
        "str",
        "[str]",
        Text(
            "return list(dict.fromkeys({items}))",
            "return [...new Set({items})];",
            "let mut seen = Vec::new();\n"
            "for x in {items} {\n    if !seen.contains(&x) {\n        seen.push(x);\n    }\n}\nseen",
        ),
    ),
    "join": ("str", "str", Text("return {n}.join({items})", "return {items}.join({n});", "{items}.join({r})")),
    "take": (
        "str",
        "[str]",
        Text("return {items}[:{n}]", "return {items}.slice(0, {n});", "{items}.into_iter().take({u}).collect()"),
    ),
    "skip": (
        "int",
        "[int]",
        Text("return {items}[{n}:]", "return {items}.slice({n});", "{items}.into_iter().skip({u}).collect()"),
    ),
    "reverse_list": (
        "str",
        "[str]",
        Text("return {items}[::-1]", "return [...{items}].reverse();", "{items}.into_iter().rev().collect()"),
    ),
}


def whole_list(author: Author) -> Task:
    kind = author.words.rng.choice(list(_WHOLE_LIST))
    type_, returns, code = _WHOLE_LIST[kind]
    items = author.items()
    operand = None
    if kind in ("largest", "take", "skip"):
        operand = operand_of(author, "int", low=1, high=5)
    elif kind == "join":
        operand = operand_of(author, "str")
    said = {"n": operand.said} if operand else {}
    filled = code.fill(n=operand.code, u=operand.size, r=operand.borrowed) if operand else code
    draw = draw_items(author, type_, [1, 5, 5, 9] if type_ == "int" else ["a", "b", "b"], least=1)
    return Task(
        does=author.speaker.say(kind, items=items, **said),
        params=((items, f"[{type_}]"), *(operand.params if operand else ())),
        returns=returns,
        body=filled.fill(items=items),
        draw_arguments=lambda: [draw(), *([operand.value] if operand and operand.params else [])],
    )


def two_lists(author: Author) -> Task:
    type_ = author.words.rng.choice(("int", "str"))
    if author.words.rng.random() < 0.5:
        first, second = author.items(), author.items()
        draws = [draw_items(author, type_, []) for _ in range(2)]
        return Task(
            does=author.speaker.say("concat", a=first, b=second),
            params=((first, f"[{type_}]"), (second, f"[{type_}]")),
            returns=f"[{type_}]",
            body=Text("return {a} + {b}", "return [...{a}, ...{b}];", "[{a}, {b}].concat()").fill(a=first, b=second),
            draw_arguments=lambda: [draw() for draw in draws],
        )
    items, name = author.items(), author.number() if type_ == "int" else author.text()
    value = plain_item(author, type_)
    draw = draw_items(author, type_, [value])
    return Task(
        does=author.speaker.say("contains_item", n=name, items=items),
        params=((items, f"[{type_}]"), (name, type_)),
        returns="bool",
        body=Text("return {n} in {i}", "return {i}.includes({n});", "{i}.contains(&{n})").fill(n=name, i=items),
        draw_arguments=lambda: [draw(), value],
    )
