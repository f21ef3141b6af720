"""Choosing experts for a prompt: signals of each card, one score, a threshold below which the base answers alone.

1. The prompt is read: words, signs, concepts, the features of heads (``prompt``).
2. Each card has signals: its own head, those of the topics that it names, keywords; concepts; words in common
   (``signals``).
3. ``weights`` makes log-odds of them, for each kind of card its own, and these become probabilities of all cards
   and the base.
4. The likeliest is chosen, or the base; an expert for a format joins one for a task if the prompt asks for both
   (``choice``).
5. What the chosen require comes along; what they do not get on with is left out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import RequestError
from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.choice import Chooser
from xpm_runtime.router.decision import Candidate, Decision
from xpm_runtime.router.decoding import DEFAULT_TASK
from xpm_runtime.router.head import Floats
from xpm_runtime.router.prompt import ReadPrompt, read_prompt
from xpm_runtime.router.signals import Signals, SignalTable
from xpm_runtime.router.topics import Topics, shipped_topics
from xpm_runtime.router.weights import OWN_HEAD, SIGNALS, TOPIC

MAX_EXPERTS = 10


class Encoder(Protocol):
    """Texts as vectors of length 1, float32 (texts, size); ``digest`` names the model."""

    @property
    def digest(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Floats: ...


class Router:
    """Holds cards, indexed; ``route`` is pure."""

    def __init__(
        self,
        cards: Sequence[RoutingCard],
        *,
        encoders: Sequence[Encoder] = (),
        topics: Topics | None = None,
        language_of: Callable[[str], str] | None = None,
        ablated: frozenset[str] = frozenset(),
    ) -> None:
        """
        Args:
            encoders: what makes vectors of prompts; a head uses those of the one that it was
                trained with, if that is here.
            language_of: from a text to its ISO 639-1 code, "" if it is not known.
            ablated: signals that are not used, for measuring what each is good for.
        Raises:
            RequestError: two cards have one name, or a hint is no expression.
        """
        if len({card.name for card in cards}) < len(cards):
            raise RequestError("two cards have one name")
        self.cards = tuple(cards)
        self._topics = topics or shipped_topics()
        self._encoders = {each.digest: each for each in encoders}
        self._language_of = language_of
        self._signals = Signals(self.cards, self._topics, frozenset(self._encoders), ablated)
        self._chooser = Chooser(self.cards, self._signals.concepts)

    def route(self, prompt: str, *, hot: frozenset[str] = frozenset(), max_experts: int = MAX_EXPERTS) -> Decision:
        """Choose for one prompt.

        Args:
            hot: experts that are attached already; they win where the scores are as good as equal.
        """
        started = time.perf_counter()
        language = self._language_of(prompt) if self._language_of else ""
        read = read_prompt(prompt, language=language)
        read_at = time.perf_counter()
        vectors = self._vectors(read)
        embedded_at = time.perf_counter()
        table = self._signals.table(read, vectors)
        shares = _shares(self._signals.log_odds(table))
        chosen = self._chooser.choose(read, shares, hot, max_experts)
        candidates = tuple(self._candidate(each, float(shares[each]), table) for each in _largest(shares, MAX_EXPERTS))
        ended = time.perf_counter()
        return Decision(
            experts=tuple(self.cards[position].name for position in chosen),
            candidates=candidates,
            confidence=float(shares[chosen[0]]) if chosen else 1 - float(shares.sum()),
            task=self._task(table.topic_odds),
            signs=tuple(sorted({*read.signs, *(f"names:{each}" for each in read.named)})),
            language=language,
            reason=self._reason(read, chosen),
            ms={
                "read": (read_at - started) * 1e3,
                "embed": (embedded_at - read_at) * 1e3,
                "score": (ended - embedded_at) * 1e3,
                "all": (ended - started) * 1e3,
            },
        )

    def signals(self, prompt: str) -> tuple[Floats, NDArray[np.int64]]:
        """(float32 (cards, signals), kind of each card): what the weights are fitted to."""
        read = read_prompt(prompt)
        return self._signals.table(read, self._vectors(read)).values.T, self._signals.kinds

    def _vectors(self, read: ReadPrompt) -> Mapping[str, Floats]:
        return {digest: encoder.embed([read.text])[0] for digest, encoder in self._encoders.items()}

    def _candidate(self, position: int, share: float, table: SignalTable) -> Candidate:
        values = table.values[:, position].tolist()
        found = {name: round(value, 3) for name, value in zip(SIGNALS, values, strict=True) if value}
        found.pop("bias", None)
        reasons = []
        kind = self._signals.kinds[position]
        if kind == OWN_HEAD:
            reasons.append(f"its own head {found.get('head', 0):+.1f}")
        elif kind == TOPIC:
            named = self._signals.topics_named(position)
            reasons.append(f"topic {', '.join(named)} {found.get('topic', 0):+.1f}")
        matches = table.keywords.of(position)
        for what, words in (("keywords", (*matches.telling, *matches.ordinary)), ("excluded", matches.excluded)):
            if words:
                reasons.append(f"{what} {', '.join(words)}")
        reasons += [name for name in ("named", "shown", "other language", "general", "hint") if found.get(name)]
        return Candidate(name=self.cards[position].name, probability=share, signals=found, reasons=tuple(reasons))

    def _task(self, topic_odds: Floats) -> str:
        best = int(topic_odds.argmax()) if len(topic_odds) else 0
        return self._topics.topics[best].task if topic_odds[best] > 0 else DEFAULT_TASK

    def _reason(self, read: ReadPrompt, chosen: Sequence[int]) -> str:
        if chosen:
            return f"{self.cards[chosen[0]].name} is the likeliest to answer it"
        if not self.cards:
            return "no expert is installed"
        if "asks:nothing" in read.signs:
            return "nothing is asked"
        return (
            "it asks about something, and the base answers that"
            if read.is_general
            else "no expert is likely to answer it"
        )


def _shares(odds: Floats) -> Floats:
    """The probability of each card, with the base at 0 among them: a softmax."""
    most = max(float(odds.max(initial=0)), 0.0)
    powers = np.exp(odds - most)
    result: Floats = powers / (powers.sum() + np.exp(-most))
    return result


def _largest(shares: Floats, count: int) -> list[int]:
    """Positions of the largest, those first; of equals, the first."""
    least = np.partition(shares, -count)[-count] if len(shares) > count else 0
    places = np.flatnonzero(shares >= least)
    return [int(each) for each in places[np.argsort(-shares[places], kind="stable")][:count]]
