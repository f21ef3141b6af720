"""Grammars for tests."""

import json
import sys
import time
from functools import cache

import numpy as np

from xpm_build.processes import peak_memory_bytes
from xpm_runtime import ConstraintError, Grammar
from xpm_runtime.constraint import Constraints
from xpm_runtime.vocabulary import ByteVocabulary

THOUSAND_RULES = "root ::= r0\n" + "\n".join(
    f'r{number} ::= "key{number} " r{(number * 7 + 1) % 1000} | [a-c]+ r{(number * 3 + 7) % 1000} | "end"'
    for number in range(1000)
)


@cache
def byte_constraints() -> Constraints:
    """For texts byte by byte; 256 ends one."""
    return Constraints(ByteVocabulary)


def _repeat(text: str, depth: int) -> str:
    return text if depth == 0 else f"({_repeat(text, depth - 1)}){{100}}"


def _schema(**document: object) -> str:
    return json.dumps(document)


def _chain(rule: str, start: str, length: int) -> str:
    """Rules each of which leads to the next."""
    sign = "::=" if "::=" in rule else ":"
    rules = (rule.format(n=number, m=number + 1) for number in range(length))
    return "\n".join([start, *rules, f'{rule[0]}{length} {sign} "c"'])


_REFERENCES = {
    f"a{number}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/a{number + 1}"}}} for number in range(9_000)
} | {"a9000": {}}
HOSTILE = (
    ("regex", "(a?){30}a{30}"),
    ("regex", "(.*a.{200}){50}"),
    ("regex", "a{1000000}"),
    ("regex", _repeat("a", 4)),
    ("lark", "start: X\nX: ~/(a|b)*a(a|b){30}/ & /[ab]*/"),
    ("lark", 'start: x{1000000}\nx: "a" | "b" x'),
    ("lark", 'start: e\ne: e e e e e e | "a"?'),
    ("lark", _chain('r{n}: r{m} | "b"', "start: r0", 9_000)),
    ("lark", _chain('T{n}: "a" T{m} | "b"', "start: T0", 9_000)),
    ("lark", _chain('r{n}: r{m} r{m} | ""', "start: r0", 9_000)),
    ("lark", _chain('r{n}: "a" r{m}', "start: r0", 30_000)),
    ("gbnf", _chain('r{n} ::= "a" r{m} | "b"', "root ::= r0", 9_000)),
    ("json_schema", _schema(**{"$ref": "#/$defs/a0", "$defs": _REFERENCES})),
    ("gbnf", 'root ::= (root root root | "a"?){0,100000}'),
    ("gbnf", "root ::= " + "|".join(f'"word{number}" root' for number in range(20_000))),
    ("json_schema", _schema(enum=[f"value {number}" for number in range(60_000)])),
    ("json_schema", _schema(allOf=[{"type": "string", "pattern": f"a.{{{n}}}b"} for n in range(30)])),
    ("json_schema", _schema(type="array", minItems=10_000_000, items={"type": "object"})),
    ("json_schema", _schema(type="string", minLength=100_000, pattern="^(a|b)*$")),
    ("json_schema", '{"anyOf": [' * 60 + "{}" + "]}" * 60),
)


def try_hostile() -> None:
    """For each of ``HOSTILE`` print its number, the processor's seconds and the most bytes so
    far: compiled, and 20 steps."""
    byte_constraints().begin(Grammar(kind="regex", text="a"))
    for number, (kind, text) in enumerate(HOSTILE):
        started = time.process_time()
        try:
            constraint = byte_constraints().begin(Grammar(kind=kind, text=text))
            for _ in range(20):
                token = int(np.flatnonzero(constraint.allowed())[0])
                if token == 256:
                    break
                constraint.accept([token])
        except ConstraintError:
            pass
        sys.stdout.write(f"{number}\t{time.process_time() - started}\t{peak_memory_bytes()}\n")
