"""Everyday functions: what each does in words, its body in three languages, and how calls of it are drawn.

The tasks are kept in ``code/*.toml``. ``f`` is a signature such as ``text:str, n/count:int -> int`` (names parted
by / may stand for each other), ``n`` names that people would choose, ``do`` what it does as a command, ``ask`` the
same as a question or in key words, ``py``, ``ts`` and ``rs`` the bodies, ``args`` what draws a call's arguments.
``vary`` lists axes of alternatives; each alternative gives values for ``$key`` in code and for ``<key>`` in words,
and perhaps its own ``n``.
``$name`` in a body is a parameter, ``$self`` the function itself.
"""

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from xpm_build.domains.everyday.code_arguments import Drawer
from xpm_build.domains.everyday.records import camel
from xpm_build.domains.functions.task import RESERVED, Code
from xpm_build.domains.words import group_of
from xpm_build.judges.code import Fields
from xpm_build.judges.python import Python
from xpm_build.judges.rust import Rust
from xpm_build.judges.typescript import TypeScript

_FOLDER = Path(__file__).with_name("code")
_BODY = {"python": "py", "typescript": "ts", "rust": "rs"}
_MARK = re.compile(r"\$(\w+)")
_COLLECTIONS = ("HashMap", "HashSet", "BTreeMap", "BTreeSet", "VecDeque")
_MODULES = ("math", "re", "string", "itertools", "calendar")
_BRACKETS = str.maketrans("⟦⟧", "[]")
NUM_TESTS = 4
_MAX_TRIES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """One task as its file has it."""

    key: str
    params: tuple[tuple[tuple[str, ...], str], ...]
    returns: str
    names: tuple[str, ...]
    do: tuple[str, ...]
    ask: tuple[str, ...]
    bodies: dict[str, str]
    arguments: str
    axes: tuple[tuple[dict[str, str], ...], ...]
    locals: frozenset[str]

    @property
    def group(self) -> int:
        return group_of(self.key)

    def names_of(self, variant: dict[str, str]) -> tuple[str, ...]:
        """The names that fit a variant."""
        return tuple(variant["n"].split()) if "n" in variant else self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A purpose with one choice of names and of each axis; ``variant`` holds what the axes chose."""

    purpose: Purpose
    name: str
    params: Fields
    variant: dict[str, str]

    @property
    def is_told_by_its_name(self) -> bool:
        """Whether the name alone says what it does: there are no variants, or each has names of its own."""
        return not self.purpose.axes or (len(self.purpose.axes) == 1 and "n" in self.variant)

    def body(self, language: Code) -> str:
        renamed = {each[0]: name for (each, _), (name, _) in zip(self.purpose.params, self.params, strict=True)}
        short = _BODY[language.name]

        def value(match: re.Match[str]) -> str:
            key = match[1]
            if key == "self":
                return self.name
            return renamed.get(key) or self.variant.get(f"{key}_{short}") or self.variant[key]

        text = self.purpose.bodies[short]
        while (filled := _MARK.sub(value, text)) != text:
            text = filled
        return text

    def header(self, language: Code) -> str:
        return language.header(self.name, self.params, self.purpose.returns)

    def written(self, language: Code, *, body: str = "") -> str:
        """The whole function, with what it imports."""
        text = language.function(self.header(language), body or self.body(language))
        return _imports(text, language) + text

    def said(self, frame: str) -> str:
        """A wording with this variant's words and the parameters' names in it."""
        names = {each[0]: name for (each, _), (name, _) in zip(self.purpose.params, self.params, strict=True)}
        text = re.sub(r"<(\w+)>", lambda match: self.variant[match[1]], frame)
        text = re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], match[0]), text)
        return text.translate(_BRACKETS)

    def tests(self, rng: random.Random, *, body: str = "") -> list[Any]:
        """Calls with the results of the Python form: no call twice, and not all results alike, where that can be."""
        call = self.callable(body)
        drawer = Drawer(rng)
        found: list[Any] = []
        for _ in range(_MAX_TRIES):
            arguments = self.arguments(drawer)
            if arguments in [each for each, _ in found]:
                continue
            result = call(*_copied(arguments))
            if len(found) < NUM_TESTS - 1 or any(result != other for _, other in found):
                found.append([arguments, result])
            if len(found) == NUM_TESTS:
                break
        return found

    def arguments(self, drawer: Drawer) -> list[Any]:
        expression = re.sub(r"<(\w+)>", lambda match: self.variant[match[1]], self.purpose.arguments)
        return drawer.draw(expression)

    def callable(self, body: str = "") -> Any:
        namespace: dict[str, Any] = {}
        exec(_compiled(self.written(Python, body=body)), namespace)
        return namespace[self.name]

    def check(self, tests: list[Any]) -> dict[str, object]:
        return {
            "name": self.name,
            "params": [list(each) for each in self.params],
            "returns": self.purpose.returns,
            "records": [],
            "tests": tests,
        }


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return dict(value) if isinstance(value, dict) else value


@cache
def _compiled(source: str) -> CodeType:
    return compile(source, "task", "exec")


def _imports(text: str, language: Code) -> str:
    if language is Rust:
        used = [each for each in _COLLECTIONS if re.search(rf"\b{each}\b", text)]
        listed = used[0] if len(used) == 1 else "{" + ", ".join(used) + "}"
        return f"use std::collections::{listed};\n\n" if used else ""
    if language is Python:
        used = [each for each in _MODULES if re.search(rf"(?<![\w.]){each}\.\w", text)]
        lines = [f"import {each}" for each in used]
        if re.search(r"\bdate\(|\bdate\.", text):
            lines.append(
                "from datetime import date, timedelta" if "timedelta(" in text else "from datetime import date"
            )
        if re.search(r"\bCounter\(", text):
            lines.append("from collections import Counter")
        return "\n".join(lines) + "\n\n\n" if lines else ""
    return ""


def draw_function(purpose: Purpose, schema: random.Random, language: Code) -> Function:
    """One choice of names in the language's manner, and of variants."""
    snake = language is not TypeScript or schema.random() < 0.45
    if language is Python and schema.random() < 0.06:
        snake = False
    variant: dict[str, str] = {}
    for axis in purpose.axes:
        variant |= schema.choice(axis)
    params: list[tuple[str, str]] = []
    for names, type_ in purpose.params:
        taken = [name for name, _ in params]
        usable = [each for each in names if each not in taken and each not in purpose.locals]
        chosen = names[0] if schema.random() < 0.55 else schema.choice(usable or names[:1])
        params.append((chosen if snake else camel(chosen), type_))
    name = schema.choice(purpose.names_of(variant))
    return Function(purpose=purpose, name=name if snake else camel(name), params=tuple(params), variant=variant)


@cache
def purposes() -> tuple[Purpose, ...]:
    """All tasks, in the order of their files and names."""
    found: list[Purpose] = []
    for path in sorted(_FOLDER.glob("*.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        found += [_purpose(key, fields) for key, fields in document.items()]
    return tuple(found)


@cache
def purposes_of(group: int) -> tuple[Purpose, ...]:
    return tuple(each for each in purposes() if each.group == group)


def _purpose(key: str, fields: dict[str, Any]) -> Purpose:
    given, returns = fields["f"].split("->")
    params = []
    for text in given.split(","):
        names, type_ = text.strip().split(":")
        params.append((tuple(names.split("/")), type_.strip()))
    axes = tuple(tuple(_alternative(each) for each in axis) for axis in fields.get("vary", ()))
    arguments = fields["args"]
    return Purpose(
        key=key,
        params=tuple(params),
        returns=returns.strip(),
        names=tuple(fields["n"].split()),
        do=tuple(map(_worded, fields["do"])),
        ask=tuple(map(_worded, fields.get("ask", ()))),
        bodies={short: _body(fields[short]) for short in _BODY.values()},
        arguments=arguments if isinstance(arguments, str) else ", ".join(arguments),
        axes=axes,
        locals=_locals([fields[short] for short in _BODY.values()], axes),
    )


def _locals(bodies: Sequence[str], axes: tuple[tuple[dict[str, str], ...], ...]) -> frozenset[str]:
    """Words that the bodies use themselves, so that no parameter may be called like one."""
    texts = [*bodies, *(each for axis in axes for alternative in axis for each in alternative.values())]
    return RESERVED | frozenset(word for text in texts for word in re.findall(r"(?<![$\w])[a-z_]\w*", text))


def _worded(frame: str) -> str:
    """The wording with brackets that hold no alternatives, such as those of a list, kept from being read as such."""
    while (kept := re.sub(r"\[([^\[\]|]*)\]", r"⟦\1⟧", frame)) != frame:
        frame = kept
    return frame


def _alternative(value: Any) -> dict[str, str]:
    return {key: str(each) for key, each in value.items()}


def _body(text: str) -> str:
    return text.strip("\n")


def parameters(params: Sequence[tuple[str, str]]) -> str:
    return ", ".join(name for name, _ in params)
