"""Tasks about one text: its case, its length, its parts."""

from collections.abc import Callable
from typing import Any

from xpm_build.domains.functions.operators import bound, draw_change, plain_item
from xpm_build.domains.functions.task import Author, Task, Text, operand_of
from xpm_build.judges.code import Fields


def text_task(author: Author) -> Task:
    """Something done to one text."""
    rng, name = author.words.rng, author.text()
    kind = rng.choice(
        ("of_text", "of_text", "length", "repeat", "replace", "split", "count_in", "link", "truncate", "palindrome")
    )
    word = author.words.invented(rng)

    def task(does: str, params: Fields, returns: str, body: Text, draw: Callable[[], list[Any]]) -> Task:
        return Task(
            does=does, params=((name, "str"), *params), returns=returns, body=body.fill(a=name), draw_arguments=draw
        )

    if kind == "of_text":
        said, code, result, params, values = draw_change(author, "str")
        body = Text("return {m}", "return {m};", "{m}").fill(m=bound(code, name))
        does = author.speaker.say(kind, a=name, mapped=said)
        return task(does, params, result, body, lambda: [plain_item(author, "str"), *values])
    if kind == "length":
        body = Text("return len({a})", "return {a}.length;", "{a}.len() as i64")
        return task(author.speaker.say(kind, a=name), (), "int", body, lambda: [rng.choice((word, "", word + word))])
    if kind == "palindrome":
        body = Text(
            "return {a} == {a}[::-1]",
            'return {a} === {a}.split("").reverse().join("");',
            "{a} == {a}.chars().rev().collect::<String>()",
        )
        return task(
            author.speaker.say(kind, a=name), (), "bool", body, lambda: [rng.choice((word, word + word[::-1], "a"))]
        )
    if kind in ("repeat", "truncate"):
        operand = operand_of(author, "int", low=1, high=9)
        body = (
            Text("return {a} * {n}", "return {a}.repeat({n});", "{a}.repeat({u})")
            if kind == "repeat"
            else Text("return {a}[:{n}]", "return {a}.slice(0, {n});", "{a}.chars().take({u}).collect()")
        ).fill(n=operand.code, u=operand.size)
        values = [operand.value] if operand.params else []
        does = author.speaker.say(kind, a=name, n=operand.said)
        return task(does, operand.params, "str", body, lambda: [rng.choice((word, word + word, "q")), *values])
    first = operand_of(author, "str")
    values = [first.value] if first.params else []
    around = [f"{word}{first.value}{word}", word, f"{first.value}{word}{first.value}", "q"]
    if kind == "replace":
        second = operand_of(author, "str")
        body = Text("return {a}.replace({b}, {c})", "return {a}.split({b}).join({c});", "{a}.replace({rb}, {rc})").fill(
            b=first.code, c=second.code, rb=first.borrowed, rc=second.borrowed
        )
        does = author.speaker.say(kind, a=name, b=first.said, c=second.said)
        values += [second.value] if second.params else []
        return task(does, first.params + second.params, "str", body, lambda: [rng.choice(around), *values])
    if kind == "link":
        other = author.text()
        body = Text("return {a} + {n} + {b}", "return {a} + {n} + {b};", 'format!("{}{}{}", {a}, {n}, {b})').fill(
            n=first.code, b=other
        )
        does = author.speaker.say(kind, a=name, b=other, n=first.said)
        return task(
            does, ((other, "str"), *first.params), "str", body, lambda: [word, plain_item(author, "str"), *values]
        )
    does = author.speaker.say(kind, a=name, n=first.said)
    if kind == "split":
        body = Text(
            "return {a}.split({n})", "return {a}.split({n});", "{a}.split({r}).map(|x| x.to_string()).collect()"
        ).fill(n=first.code, r=first.borrowed)
        return task(does, first.params, "[str]", body, lambda: [rng.choice(around), *values])
    body = Text("return {a}.count({n})", "return {a}.split({n}).length - 1;", "{a}.matches({r}).count() as i64").fill(
        n=first.code, r=first.borrowed
    )
    return task(does, first.params, "int", body, lambda: [rng.choice(around), *values])
