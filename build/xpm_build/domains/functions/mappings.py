"""Tasks about maps from texts to numbers, and about lists of records."""

from typing import Any

from xpm_build.domains.functions.operators import draw_items, draw_test, plain_item
from xpm_build.domains.functions.task import RESERVED, Author, Task, Text, fill, operand_of
from xpm_build.judges.code import Record


def mapping(author: Author) -> Task:
    """Something asked of a map from texts to numbers."""
    rng = author.words.rng
    kind = rng.choice(("lookup", "has_key", "sum_values", "keys_where", "tally"))
    if kind == "tally":
        items = author.items()
        draw = draw_items(author, "str", ["a", "b", "b"])
        body = Text(
            "counts: dict[str, int] = {}\nfor x in {i}:\n    counts[x] = counts.get(x, 0) + 1\nreturn counts",
            "const counts: Record<string, number> = {};\n"
            "for (const x of {i}) {\n  counts[x] = (counts[x] ?? 0) + 1;\n}\n"
            "return counts;",
            "let mut counts = HashMap::new();\nfor x in {i} {\n    *counts.entry(x).or_insert(0) += 1;\n}\ncounts",
        ).fill(i=items)
        return Task(
            does=author.speaker.say(kind, items=items),
            params=((items, "[str]"),),
            returns="{int}",
            body=body,
            draw_arguments=lambda: [draw()],
        )
    table = author.items()
    words = author.words.distinct(4, lambda: author.words.invented(rng))

    def mapping() -> dict[str, int]:
        return {word: rng.randint(0, 99) for word in rng.sample(words, rng.randint(1, 3))}

    if kind == "sum_values":
        body = Text(
            "return sum({a}.values())",
            "return Object.values({a}).reduce((a, b) => a + b, 0);",
            "{a}.into_values().sum()",
        )
        return Task(
            does=author.speaker.say(kind, a=table),
            params=((table, "{int}"),),
            returns="int",
            body=body.fill(a=table),
            draw_arguments=lambda: [mapping()],
        )
    if kind == "keys_where":
        test = draw_test(author, "int", item="v", single=True)
        by_ref = Text(
            test.by_value.python, test.by_value.typescript.replace("v ", f"{table}[k] ", 1), "*" + test.by_value.rust
        )
        body = Text(
            "return sorted(k for k, v in {t}.items() if {q})",
            "return Object.keys({t}).filter((k) => {q}).sort();",
            "let mut keys: Vec<String> = {t}.into_iter().filter(|(_, v)| {q}).map(|(k, _)| k).collect();\n"
            "keys.sort();\nkeys",
        ).fill(t=table, q=by_ref)
        near = [value for value in test.near if value >= 0]
        return Task(
            does=author.speaker.say(kind, a=table, one_pred=test.is_),
            params=((table, "{int}"), *test.params),
            returns="[str]",
            body=body,
            draw_arguments=lambda: [{word: rng.choice(near) for word in words[:3]}, *test.values],
        )
    key = author.text()
    if kind == "has_key":
        body = Text("return {b} in {a}", "return {b} in {a};", "{a}.contains_key(&{b})").fill(a=table, b=key)
        return Task(
            does=author.speaker.say(kind, a=table, b=key),
            params=((table, "{int}"), (key, "str")),
            returns="bool",
            body=body,
            draw_arguments=lambda: [mapping(), rng.choice(words)],
        )
    operand = operand_of(author, "int")
    body = Text("return {a}.get({b}, {n})", "return {a}[{b}] ?? {n};", "*{a}.get(&{b}).unwrap_or(&{n})").fill(
        a=table, b=key, n=operand.code
    )
    return Task(
        does=author.speaker.say(kind, a=table, b=key, n=operand.said),
        params=((table, "{int}"), (key, "str"), *operand.params),
        returns="int",
        body=body,
        draw_arguments=lambda: [mapping(), rng.choice(words), *([operand.value] if operand.params else [])],
    )


_ROWS: dict[str, tuple[str, Text]] = {  # kind -> (result, code). {f} is the field, {o} another one.
    "rows_filter": (
        "[{row}]",
        Text(
            "return [x for x in {items} if {q}]",
            "return {items}.filter((x) => {q});",
            "{items}.into_iter().filter(|x| {q}).collect()",
        ),
    ),
    "rows_field": (
        "[{field}]",
        Text(
            "return [x.{f} for x in {items}]",
            "return {items}.map((x) => x.{f});",
            "{items}.into_iter().map(|x| x.{f}).collect()",
        ),
    ),
    "rows_field_where": (
        "[{other}]",
        Text(
            "return [x.{o} for x in {items} if {q}]",
            "return {items}.filter((x) => {q}).map((x) => x.{o});",
            "{items}.into_iter().filter(|x| {q}).map(|x| x.{o}).collect()",
        ),
    ),
    "rows_sum": (
        "int",
        Text(
            "return sum(x.{f} for x in {items})",
            "return {items}.reduce((a, x) => a + x.{f}, 0);",
            "{items}.into_iter().map(|x| x.{f}).sum()",
        ),
    ),
    "rows_count": (
        "int",
        Text(
            "return sum(1 for x in {items} if {q})",
            "return {items}.filter((x) => {q}).length;",
            "{items}.into_iter().filter(|x| {q}).count() as i64",
        ),
    ),
    "rows_sort": (
        "[{row}]",
        Text(
            "return sorted({items}, key=lambda x: x.{f})",
            "return [...{items}].sort((a, b) => a.{f} - b.{f});",
            "let mut sorted = {items};\nsorted.sort_by_key(|x| x.{f});\nsorted",
        ),
    ),
    "rows_best": (
        "{other}",
        Text(
            "return max({items}, key=lambda x: x.{f}).{o}",
            "return {items}.reduce((a, b) => (b.{f} > a.{f} ? b : a)).{o};",
            "{items}.into_iter().max_by_key(|x| x.{f}).unwrap().{o}",
        ),
    ),
}


def rows_task(author: Author) -> Task:
    """Something asked of a list of records."""
    rng = author.words.rng
    record = draw_record(author)
    items = author.items()
    kind = rng.choice(list(_ROWS))
    returns, code = _ROWS[kind]
    must_be_int = kind in ("rows_sum", "rows_sort", "rows_best")
    name, type_ = rng.choice([each for each in record.fields if not must_be_int or each[1] == "int"])
    other, other_type = rng.choice([each for each in record.fields if each[0] != name])
    test = draw_test(author, type_, item=f"x.{name}", single=True) if "{q}" in code.python else None
    near = test.near if test else []

    def row() -> list[Any]:
        return [
            rng.choice(near) if each == name and near and rng.random() < 0.8 else plain_item(author, kind_)
            for each, kind_ in record.fields
        ]

    def arguments() -> list[Any]:
        rows = [row() for _ in range(rng.randint(1, 5))]
        at = [each for each, _ in record.fields].index(name)
        if must_be_int:  # no ties: which of two equals comes first is not asked
            rows = [
                [*each[:at], value, *each[at + 1 :]]
                for each, value in zip(rows, rng.sample(range(90), len(rows)), strict=True)
            ]
        return [rows, *(test.values if test else [])]

    does = author.speaker.say(kind, items=items, field=name, other=other, one_pred=test.is_ if test else "")
    filled = code.fill(items=items, f=name, o=other)
    return Task(
        does=does,
        params=((items, f"[@{record.name}]"), *(test.params if test else ())),
        record=record,
        returns=fill(returns, {"row": f"@{record.name}", "field": type_, "other": other_type}),
        body=filled.fill(q=test.by_value) if test else filled,
        draw_arguments=arguments,
    )


def draw_record(author: Author) -> Record:
    while (name := author.words.table()) in RESERVED:
        pass
    fields = [(author.number(), "int"), (author.text(), "str")]
    if author.words.schema.random() < 0.5:
        numeric = author.words.schema.random() < 0.5
        fields.append((author.number(), "int") if numeric else (author.text(), "str"))
    author.words.schema.shuffle(fields)
    return Record(name=name.capitalize(), fields=tuple(fields))
