"""Well-known algorithms under invented names."""

from xpm_build.domains.functions.task import Author, Task, Text

_ALGORITHMS: dict[str, tuple[int, str, Text, tuple[int, ...]]] = {  # kind -> (parameters, result, code, arguments)
    "factorial": (
        1,
        "int",
        Text(
            "result = 1\nfor x in range(2, {a} + 1):\n    result *= x\nreturn result",
            "let result = 1;\nfor (let x = 2; x <= {a}; x++) {\n  result *= x;\n}\nreturn result;",
            "(1..={a}).product()",
        ),
        (0, 1, 3, 5, 7),
    ),
    "sum_to": (
        1,
        "int",
        Text("return sum(range(1, {a} + 1))", "return ({a} * ({a} + 1)) / 2;", "(1..={a}).sum()"),
        (0, 1, 4, 10, 33),
    ),
    "power": (2, "int", Text("return {a} ** {b}", "return {a} ** {b};", "{a}.pow({b} as u32)"), (0, 1, 2, 3, 4)),
    "gcd": (
        2,
        "int",
        Text(
            "while {b}:\n    {a}, {b} = {b}, {a} % {b}\nreturn {a}",
            "while ({b} !== 0) {\n  [{a}, {b}] = [{b}, {a} % {b}];\n}\nreturn {a};",
            "let (mut x, mut y) = ({a}, {b});\nwhile y != 0 {\n    (x, y) = (y, x % y);\n}\nx",
        ),
        (12, 18, 7, 30, 45),
    ),
    "digits": (
        1,
        "int",
        Text(
            "return sum(int(x) for x in str({a}))",
            'return String({a}).split("").reduce((a, b) => a + Number(b), 0);',
            "{a}.to_string().chars().map(|x| x.to_digit(10).unwrap() as i64).sum()",
        ),
        (0, 7, 19, 304, 9999),
    ),
    "prime": (
        1,
        "bool",
        Text(
            "return {a} > 1 and all({a} % x != 0 for x in range(2, {a}))",
            "for (let x = 2; x < {a}; x++) {\n  if ({a} % x === 0) {\n    return false;\n  }\n}\nreturn {a} > 1;",
            "{a} > 1 && (2..{a}).all(|x| {a} % x != 0)",
        ),
        (0, 1, 2, 3, 9, 25, 29, 91),
    ),
    "fibonacci": (
        1,
        "int",
        Text(
            "a, b = 0, 1\nfor _ in range({a}):\n    a, b = b, a + b\nreturn a",
            "let [a, b] = [0, 1];\nfor (let i = 0; i < {a}; i++) {\n  [a, b] = [b, a + b];\n}\nreturn a;",
            "let (mut x, mut y) = (0, 1);\nfor _ in 0..{a} {\n    (x, y) = (y, x + y);\n}\nx",
        ),
        (0, 1, 2, 3, 8, 12),
    ),
}


def algorithm(author: Author) -> Task:
    kind = author.words.rng.choice(list(_ALGORITHMS))
    count, returns, code, values = _ALGORITHMS[kind]
    names = [author.number() for _ in range(count)]
    named = dict(zip("ab", names, strict=False))
    return Task(
        does=author.speaker.say(kind, **named),
        params=tuple((name, "int") for name in names),
        returns=returns,
        body=code.fill(**named),
        draw_arguments=lambda: [author.words.rng.choice(values) for _ in range(count)],
    )
