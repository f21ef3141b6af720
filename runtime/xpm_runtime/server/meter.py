"""What a worker counts: numbers that only grow, and how many tokens the last seconds brought."""

from collections import Counter, deque
from dataclasses import dataclass, field

from xpm_runtime import GenerationResult

_WINDOW_S = 5.0
_WEIGHT = 0.1  # of the latest answer in the mean


@dataclass(slots=True)
class Meter:
    """Changed by the stepping thread alone, but for ``refused`` and ``degraded``, and read by any."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    output_tokens: int = 0
    preempted: int = 0
    refused: int = 0
    degraded: int = 0
    steps: int = 0
    service_s: float | None = None  # from its lane to its end, the mean of the latest answers
    finished: Counter[str] = field(default_factory=Counter)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)  # (when, tokens) of steps

    def step(self, now: float, num_tokens: int) -> None:
        self.steps += 1
        self._recent.append((now, num_tokens))
        while self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()

    def serve(self, seconds: float) -> None:
        """An answer had a lane for so long until it ended."""
        self.service_s = seconds if self.service_s is None else (1 - _WEIGHT) * self.service_s + _WEIGHT * seconds

    def finish(self, result: GenerationResult) -> None:
        self.prompt_tokens += result.num_prompt_tokens
        self.reused_tokens += result.num_reused_tokens
        self.finished[result.finish_reason] += 1

    def tokens_per_s(self, now: float) -> float:
        recent = [(when, count) for when, count in self._recent.copy() if when >= now - _WINDOW_S]
        return sum(count for _, count in recent) / max(0.1, now - recent[0][0]) if recent else 0.0
