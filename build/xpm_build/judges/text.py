"""Answers in words: right if they are the wanted ones but for case, punctuation and articles."""

import re
from collections.abc import Sequence

from xpm_build.dataset.rows import completion_of
from xpm_build.judges.verdict import Row, Verdict

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and double spaces (as in the SQuAD evaluation)."""
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split())


def alike(language: str, wanted: str, answer: str) -> bool:
    """Whether two answers are the same text: prose by its normalised words, anything else but for spaces."""
    if language == "text":
        return normalised(wanted) == normalised(answer)
    return wanted.split() == answer.split()


def judge_text(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    verdicts = []
    for row, answer in zip(rows, answers, strict=True):
        right = alike("text", completion_of(row), answer)
        verdicts.append(Verdict(right=right, parses=bool(answer.strip()), reason="" if right else "other words"))
    return verdicts
