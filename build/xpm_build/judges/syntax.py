"""Answers that are not run: whether they are well-formed, told by a parser, and whether they are the gold answer."""

import ast
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from xpm_build.dataset.rows import completion_of
from xpm_build.judges.text import alike
from xpm_build.judges.verdict import Row, Verdict

_GRAMMARS = {"typescript": ("tree_sitter_typescript", "language_typescript"), "rust": ("tree_sitter_rust", "language")}


@cache
def _parser(language: str) -> Any:
    from tree_sitter import Language, Parser

    module, name = _GRAMMARS[language]
    return Parser(Language(getattr(import_module(module), name)()))


def parses(language: str, text: str) -> bool:
    """Whether ``text`` is well-formed; of Cypher, which only Kuzu parses, whether there is any."""
    if not text.strip() or language == "neo4j":
        return bool(text.strip())
    if language == "python":
        return _parses_python(text)
    if language == "sql":
        return _parses_sql(text)
    return not _parser(language).parse(text.encode()).root_node.has_error


def _parses_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _parses_sql(text: str) -> bool:
    import sqlglot

    try:
        sqlglot.parse_one(text, dialect="sqlite")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return False
    return True


def judge_syntax(
    language: str, rows: Sequence[Row], answers: Sequence[str], *, why: str = "no compiler here"
) -> list[Verdict]:
    """Parse only; right if equal to the gold answer but for spaces. What a judge falls back to; its reasons say ``why``."""
    verdicts = []
    for row, answer in zip(rows, answers, strict=True):
        right = alike(language, completion_of(row), answer)
        reason = f"{'' if right else 'not '}the gold answer (compared as text: {why})"
        verdicts.append(Verdict(right=right, parses=parses(language, answer), reason=reason))
    return verdicts
