"""How a kind of task is decoded where nobody says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """``max_tokens`` is the most; of it, at most ``share`` of the prompt's tokens if that is
    not 0, but ``LEAST_TOKENS``."""

    temperature: float
    top_p: float = 0.95
    repetition_penalty: float = 1.1
    max_tokens: int = 2048
    share: float = 0.0

    def max_tokens_for(self, num_prompt_tokens: int) -> int:
        if not self.share:
            return self.max_tokens
        return min(self.max_tokens, max(LEAST_TOKENS, int(num_prompt_tokens * self.share)))


LEAST_TOKENS = 128
DEFAULT_TASK = "chat"
DECODING: Mapping[str, Decoding] = {
    "json": Decoding(temperature=0.2, repetition_penalty=1.0, share=1.0),
    "sql": Decoding(temperature=0.3),
    "classification": Decoding(temperature=0.3, max_tokens=512, share=0.5),
    "extraction": Decoding(temperature=0.3, max_tokens=512, share=0.5),
    "code": Decoding(temperature=0.4),
    "translation": Decoding(temperature=0.5),
    "summary": Decoding(temperature=0.6),
    "creative": Decoding(temperature=0.8, max_tokens=8192),
    "brainstorm": Decoding(temperature=0.9),
    DEFAULT_TASK: Decoding(temperature=0.6),
}
"""Task → parameters. No short prompt leaves less than ``LEAST_TOKENS``: half of "Positive or
negative? Great!" is no room."""
