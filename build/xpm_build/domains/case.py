"""One case of a domain, and the row of a dataset that it becomes."""

from dataclasses import dataclass, field
from typing import Any

Draft = tuple[str, str, str, dict[str, object], str]
"""What a domain makes: prompt, completion, family, check, answer in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request and its answer.

    ``group`` names the part of the vocabulary that all identifiers were drawn from: two groups share none.
    ``frames`` are the ids of the sentence frames that the request is worded with. ``check`` is what the domain's
    judge needs to run an answer.
    ``in_words`` is what a chat model that has no expert would say.
    """

    prompt: str
    completion: str
    family: str
    group: str
    frames: tuple[str, ...]
    language: str
    difficulty: str
    check: dict[str, Any] = field(default_factory=dict)
    in_words: str = ""

    def to_row(self) -> dict[str, Any]:
        """The row of a JSONL dataset; ``in_words`` stays out of it."""
        return {
            "prompt": self.prompt,
            "completion": self.completion,
            "family": self.family,
            "group": self.group,
            "phrasing": list(self.frames),
            "language": self.language,
            "difficulty": self.difficulty,
            "check": self.check,
        }


def difficulty_of(completion: str) -> str:
    """easy, medium or hard, by the length of what has to be written."""
    length = len(completion)
    return "easy" if length < 60 else "medium" if length < 130 else "hard"
