"""What requests say of a function: its purpose in the third person, a call of it as people write one."""

import json
import re
from typing import Any

from xpm_build.domains.everyday.code_tasks import Function
from xpm_build.domains.functions.task import Code
from xpm_build.judges.python import Python

_SECOND_VERBS = re.compile(
    r"\b(and|or) (return|give|put|add|find|leave|count|keep|drop|compare|cut|write|take|sort|join|insert|print|turn)\b"
)


def third_person(do: str) -> str:
    """``count the words and return them`` -> ``counts the words and returns them``."""
    first, _, rest = do.partition(" ")
    verb = first.rstrip(",")
    told = f"{_with_s(verb)}{first[len(verb) :]} {rest}"
    return _SECOND_VERBS.sub(lambda match: f"{match[1]} {_with_s(match[2])}", told, count=1)


def _with_s(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh", "o")) else "s")


def called(function: Function | None, arguments: list[Any], language: Code) -> str:
    """A call, or without a function its result, as a request shows it."""
    shown = ", ".join(_shown(each, language) for each in arguments)
    return f"{function.name}({shown})" if function else shown


def _shown(value: Any, language: Code) -> str:
    if language is Python:
        return repr(value)
    return language.none if value is None else json.dumps(value, ensure_ascii=False)
