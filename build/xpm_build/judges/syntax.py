"""Whether code is well-formed, told by a parser, for languages whose compiler may be absent."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from xpm_build.judges.verdict import Row, Verdict

_GRAMMARS = {"typescript": ("tree_sitter_typescript", "language_typescript"), "rust": ("tree_sitter_rust", "language")}


@cache
def _parser(language: str) -> Any:
    from tree_sitter import Language, Parser

    module, name = _GRAMMARS[language]
    return Parser(Language(getattr(import_module(module), name)()))


def parses(language: str, text: str) -> bool:
    """Whether ``text`` is well-formed TypeScript or Rust."""
    tree = _parser(language).parse(text.encode())
    return bool(text.strip()) and not tree.root_node.has_error


def judge_syntax(language: str, rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    """Parse only; right if equal to the gold answer but for spaces. What a judge falls back to, and its reason says so."""
    verdicts = []
    for row, answer in zip(rows, answers, strict=True):
        right = answer.split() == row["completion"].split()
        reason = "" if right else "not the gold answer (compared as text: no compiler here)"
        verdicts.append(Verdict(right=right, parses=parses(language, answer), reason=reason))
    return verdicts
