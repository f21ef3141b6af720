"""Answers in words: right if they are the wanted ones but for case, punctuation and articles."""

import re
from collections.abc import Sequence

from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.rows import completion_of

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and double spaces (as in the SQuAD evaluation)."""
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split())


def judge_text(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    verdicts = []
    for row, answer in zip(rows, answers, strict=True):
        right = TEXT.is_alike(completion_of(row), answer)
        verdicts.append(Verdict(right=right, parses=bool(answer.strip()), reason="" if right else "other words"))
    return verdicts


TEXT = Language(name="text", judge=judge_text, measure="equal words", normalised=normalised)
