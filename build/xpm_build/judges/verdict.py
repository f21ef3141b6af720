"""What a judge says, and which judge belongs to which language."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from xpm_build.errors import BuildError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``parses``: the answer is well-formed. ``right``: it does what the gold answer does. ``reason``: why not, in one line."""

    right: bool
    parses: bool
    reason: str = ""


Row = dict[str, Any]
Judge = Callable[[Sequence[Row], Sequence[str]], list[Verdict]]
"""Rows of a data set (``completion`` and ``check`` are read) and an answer for each."""

_JUDGES = {
    "json": ("xpm_build.judges.json_value", "judge_json"),
    "sql": ("xpm_build.judges.sql", "judge_sql"),
    "neo4j": ("xpm_build.judges.cypher", "judge_cypher"),
    "python": ("xpm_build.judges.python", "judge_python"),
    "typescript": ("xpm_build.judges.typescript", "judge_typescript"),
    "rust": ("xpm_build.judges.rust", "judge_rust"),
    "text": ("xpm_build.judges.text", "judge_text"),
}
LANGUAGES = tuple(_JUDGES)


def judge_of(language: str) -> Judge:
    """The judge of a language; ``text`` compares words.

    Raises:
        BuildError: no judge knows the language.
    """
    if language not in _JUDGES:
        raise BuildError(
            f"there is no judge for {language!r}", hint=f"set evaluation.language to one of {', '.join(LANGUAGES)}"
        )
    module, name = _JUDGES[language]
    return partial(getattr(import_module(module), name))


def measure_of(language: str) -> str:
    """What a judge's "right" means here: what a report calls the figure."""
    if language in ("typescript", "rust"):
        module = import_module(_JUDGES[language][0])
        return "execution accuracy" if module.compiler() else "equal text (no compiler here)"
    return {"json": "equal values", "text": "equal words"}.get(language, "execution accuracy")
