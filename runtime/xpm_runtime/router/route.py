"""Choosing experts for a prompt: signals of each card, one score, a threshold below which the base answers alone.

1. The prompt is read: words, signs, concepts, the features of heads (``prompt``).
2. Each card has signals: its own head, those of the topics that it names, keywords; concepts; words in common.
3. ``weights`` makes log-odds of them, for each kind of card its own, and these become probabilities of all cards and the base.
4. The likeliest is chosen, or the base; an expert for a format joins one for a task if the prompt asks for both.
5. What the chosen require comes along; what they do not get on with is left out.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import RequestError
from xpm_runtime.router.card import DEFAULT_PRIORITY, RoutingCard
from xpm_runtime.router.decoding import DEFAULT_TASK
from xpm_runtime.router.heads import Heads
from xpm_runtime.router.hint import Hint, parse_hint
from xpm_runtime.router.keywords import KeywordIndex, Matches
from xpm_runtime.router.lexical import LexicalIndex
from xpm_runtime.router.prompt import ReadPrompt, read_prompt
from xpm_runtime.router.signs import CONCEPT_OF, LANGUAGES
from xpm_runtime.router.topics import Topics, shipped_topics
from xpm_runtime.router.weights import BARE, OWN_HEAD, SIGNALS, TOPIC, WEIGHTS, place
from xpm_runtime.router.words import folded, words_of

Floats = NDArray[np.float32]
MAX_EXPERTS = 10
_ALSO = 0.2  # share from which an expert for a task joins the one for the format that was asked for
_TIE = 0.02
_NO_MATCHES = Matches()
_CODE_TIERS = frozenset({"language", "tech"})
_WANTS_FORMAT = re.compile(
    r"\b(as|in|into|to|als|en|au format|como|return|respond|answer|output|give|structured)\b.{0,40}\b(json"
    r"|xml|yaml|csv|markdown)\b|\bjson object\b|(json|xml|yaml)(格式|对象)"
)


class Encoder(Protocol):
    """Texts as vectors of length 1, float32 (texts, size); ``digest`` names the model."""

    @property
    def digest(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Floats: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """``probability`` that the expert answers the prompt; ``signals`` are what it was made of, those
    that are not 0.
    """

    name: str
    probability: float
    signals: Mapping[str, float]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``experts`` best first, with what they require; () for the base alone. ``confidence`` is that this
    is right, 0 to 1.
    """

    experts: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    confidence: float
    task: str
    signs: tuple[str, ...]
    language: str
    reason: str
    ms: Mapping[str, float] = field(default_factory=dict)


class Router:
    """Holds cards, indexed; ``route`` is pure. Vectors of cards' examples are made once, when an encoder is there."""

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
            encoders: what makes vectors of prompts; a head uses those of the one that it was trained with, if that is here.
            language_of: from a text to its ISO 639-1 code, "" if it is not known.
            ablated: signals that are not used, for measuring what each is good for.
        Raises:
            RequestError: two cards have one name, or a hint is no expression.
        """
        if len({card.name for card in cards}) < len(cards):
            raise RequestError("two cards have one name")
        self.cards = tuple(cards)
        self._topics = topics or shipped_topics()
        self._keywords, self._lexical = KeywordIndex(cards), LexicalIndex(cards)
        self._encoders = {each.digest: each for each in encoders}
        self._language_of, self._ablated = language_of, ablated
        self._hints: dict[int, Hint] = {}
        for position, card in enumerate(cards):
            if (hint := parse_hint(card.hint)) is not None:
                self._hints[position] = hint
        self._concepts = [_concepts_of(card) for card in cards]
        self._about: dict[str, list[int]] = {}
        for position, concepts in enumerate(self._concepts):
            for concept in concepts:
                self._about.setdefault(concept, []).append(position)
        self._of_topics: NDArray[np.bool_] = np.zeros((len(cards), len(self._topics.topics)), bool)
        for position, card in enumerate(cards):
            self._of_topics[position] = self._topics.of_card(card)
        self._uses_head = np.array([card.head is not None and "head" not in ablated for card in cards], bool)
        self._uses_topics = np.asarray(self._of_topics.any(axis=1), bool)
        if "topics" in ablated:
            self._uses_topics = np.zeros(len(cards), bool)
        self._heads = _by_embedder(cards, self._encoders)
        self._priorities = np.array([card.priority - DEFAULT_PRIORITY for card in cards], np.float32)
        self._makes = np.array([_makes_something(card) for card in cards], np.float32)
        self._general_at = np.array([topic.is_general for topic in self._topics.topics])

    def route(self, prompt: str, *, hot: frozenset[str] = frozenset(), max_experts: int = MAX_EXPERTS) -> Decision:
        """Choose for one prompt.

        Args:
            hot: experts that are attached already; they win where the scores are as good as equal.
        """
        started = time.perf_counter()
        language = self._language_of(prompt) if self._language_of else ""
        read = read_prompt(prompt, language=language)
        read_at = time.perf_counter()
        vectors = {digest: encoder.embed([read.text])[0] for digest, encoder in self._encoders.items()}
        embedded_at = time.perf_counter()
        topic_odds = self._topic_odds(read, vectors)
        signals, matches = self._signals(read, topic_odds, vectors)
        kinds = np.where(self._uses_head, OWN_HEAD, np.where(self._uses_topics, TOPIC, BARE))
        odds = (signals * WEIGHTS[kinds]).sum(axis=1) if len(self.cards) else np.zeros(0, np.float32)
        sure = _shares(odds)
        chosen = self._choose(read, sure, hot, max_experts)
        shown = np.argsort(-sure, kind="stable")[:MAX_EXPERTS]
        candidates = tuple(
            self._candidate(position, sure[position], signals[position], matches.get(int(position), _NO_MATCHES))
            for position in shown
        )
        task = self._task(topic_odds)
        ended = time.perf_counter()
        return Decision(
            experts=tuple(self.cards[position].name for position in chosen),
            candidates=candidates,
            confidence=float(sure[chosen[0]]) if chosen else 1 - float(sure.sum()),
            task=task,
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

    def _topic_odds(self, read: ReadPrompt, vectors: Mapping[str, Floats]) -> Floats:
        if "topics" in self._ablated:
            return np.full(len(self._topics.topics), -8, np.float32)
        return self._topics.log_odds(read.features, vectors.get(self._topics.heads.embedder))

    def signals(self, prompt: str) -> tuple[Floats, NDArray[np.int64]]:
        """(float32 (cards, signals), kind of each card): what the weights are fitted to."""
        read = read_prompt(prompt)
        vectors = {digest: encoder.embed([read.text])[0] for digest, encoder in self._encoders.items()}
        signals, _ = self._signals(read, self._topic_odds(read, vectors), vectors)
        return signals, np.where(self._uses_head, OWN_HEAD, np.where(self._uses_topics, TOPIC, BARE))

    def _signals(
        self, read: ReadPrompt, topic_odds: Floats, vectors: Mapping[str, Floats]
    ) -> tuple[Floats, dict[int, Matches]]:
        table = np.zeros((len(self.cards), len(SIGNALS)), np.float32)
        table[:, place("bias")] = 1
        if "head" not in self._ablated:
            for positions, heads in self._heads:
                odds = heads.log_odds(read.features, vectors.get(heads.embedder))
                table[positions, place("head")] = np.clip(odds, -8, 8)
        masked = np.where(self._of_topics, topic_odds, -np.inf)
        own = masked.max(axis=1, initial=-np.inf)
        rival = np.where(self._of_topics, -np.inf, topic_odds).max(axis=1, initial=-np.inf)
        table[:, place("topic")] = np.where(self._uses_topics, np.maximum(own, -8), 0)
        table[:, place("rival")] = np.where(self._uses_topics, np.maximum(rival, 0), 0)
        general = float(topic_odds[self._general_at].max(initial=-8))
        table[:, place("general topic")] = general
        table[:, place("general")] = float(read.is_general) * self._makes
        table[:, place("brief question")] = float(read.is_general and "asks:briefly" in read.signs) * self._makes
        table[:, place("words in common")] = self._lexical.likeness(read.words)
        matches = self._keywords.matches(read.folded, read.words)
        for position, found in matches.items():
            table[position, place("keywords")] = min(len(found.telling), 3)
            table[position, place("ordinary keywords")] = min(len(found.ordinary), 3)
            table[position, place("excluded")] = min(len(found.excluded), 2)
        self._compare_concepts(read, table)
        if self._hints:
            tasks = frozenset(
                topic.name for topic, odds in zip(self._topics.topics, topic_odds, strict=True) if odds > 0
            )
            seen = read.seen(tasks)
            for position, hint in self._hints.items():
                table[position, place("hint")] = 1 if hint(seen) else -1
        table[:, place("priority")] = self._priorities
        for name in self._ablated & set(SIGNALS):
            table[:, place(name)] = 0
        return table, matches

    def _compare_concepts(self, read: ReadPrompt, table: Floats) -> None:
        mentioned = read.named | read.shown
        if not mentioned:
            return
        if not read.is_general:
            table[:, place("named")] = self._is_about(read.named)
        table[:, place("shown")] = self._is_about(read.shown)
        if languages := mentioned & LANGUAGES:
            table[:, place("other language")] = self._is_about(LANGUAGES) & ~self._is_about(languages)

    def _is_about(self, concepts: frozenset[str]) -> NDArray[np.bool_]:
        """bool (cards,): whether a card is about one of the concepts."""
        found = np.zeros(len(self.cards), bool)
        for concept in concepts:
            if concept in self._about:
                found[self._about[concept]] = True
        return found

    def _choose(self, read: ReadPrompt, sure: Floats, hot: frozenset[str], max_experts: int) -> list[int]:
        top = float(sure.max(initial=0))
        if top <= 1 - float(sure.sum()):  # what is left is the base's
            return []
        tied = [int(each) for each in np.flatnonzero(sure >= top - _TIE)]
        best = min(
            tied,
            key=lambda each: (
                self.cards[each].name not in hot,
                -round(float(sure[each]), 3),
                -self.cards[each].priority,
                self.cards[each].name,
            ),
        )
        chosen = [best]
        if self.cards[best].tier not in ("format", *_CODE_TIERS) and _WANTS_FORMAT.search(read.folded):
            formats = [
                each
                for each, card in enumerate(self.cards)
                if card.tier == "format" and self._concepts[each] & read.named and each != best
            ]
            if formats:
                chosen.append(max(formats, key=lambda each: float(sure[each])))
        elif self.cards[best].tier == "format" and _WANTS_FORMAT.search(read.folded):
            tasks = [each for each, card in enumerate(self.cards) if card.tier not in ("format", *_CODE_TIERS)]
            likeliest = max(tasks, key=lambda each: float(sure[each]), default=best)
            if float(sure[likeliest]) > _ALSO:
                chosen.insert(0, likeliest)
        return self._with_required(chosen, max_experts)

    def _with_required(self, chosen: list[int], max_experts: int) -> list[int]:
        """The chosen, best first, each with what it requires, as long as they get on with each other and are not too many."""
        at = {card.name: position for position, card in enumerate(self.cards)}
        taken: list[int] = []
        for each in chosen:
            needed, waiting = [], [each]
            while waiting:
                position = waiting.pop()
                if position in needed:
                    continue
                needed.append(position)
                waiting += [at[name] for name in self.cards[position].requires if name in at]
            wanted = [*taken, *(position for position in needed if position not in taken)]
            names = {self.cards[position].name for position in wanted}
            if len(wanted) <= max_experts and not any(
                names & set(self.cards[position].incompatible) for position in wanted
            ):
                taken = wanted
        return taken

    def _candidate(self, position: int, sure: float, signals: Floats, matches: Matches) -> Candidate:
        found = {name: round(float(value), 3) for name, value in zip(SIGNALS, signals, strict=True) if value}
        found.pop("bias", None)
        reasons = []
        if self._uses_head[position]:
            reasons.append(f"its own head {found.get('head', 0):+.1f}")
        elif self._uses_topics[position]:
            names = [self._topics.topics[each].name for each in np.flatnonzero(self._of_topics[position])]
            reasons.append(f"topic {', '.join(names)} {found.get('topic', 0):+.1f}")
        for what, words in (("keywords", (*matches.telling, *matches.ordinary)), ("excluded", matches.excluded)):
            if words:
                reasons.append(f"{what} {', '.join(words)}")
        reasons += [name for name in ("named", "shown", "other language", "general", "hint") if found.get(name)]
        return Candidate(name=self.cards[position].name, probability=float(sure), signals=found, reasons=tuple(reasons))

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


def _by_embedder(
    cards: Sequence[RoutingCard], encoders: Mapping[str, Encoder]
) -> list[tuple[NDArray[np.int64], Heads]]:
    """(positions of cards, their heads), those together that use the vectors of one encoder, or none."""
    groups: dict[str, list[int]] = {}
    for position, card in enumerate(cards):
        if card.head is not None:
            groups.setdefault(card.head.embedder if card.head.embedder in encoders else "", []).append(position)
    return [
        (np.array(positions), Heads.of([head for each in positions if (head := cards[each].head)], digest))
        for digest, positions in groups.items()
    ]


def _shares(odds: Floats) -> Floats:
    """The probability of each card, with the base at 0 among them: a softmax."""
    most = max(float(odds.max(initial=0)), 0.0)
    powers = np.exp(odds - most)
    result: Floats = powers / (powers.sum() + np.exp(-most))
    return result


def _concepts_of(card: RoutingCard) -> frozenset[str]:
    """What its title or its capabilities name; if they name nothing, what its keywords do."""
    named = {
        CONCEPT_OF[each]
        for each in (*map(folded, card.capabilities), *words_of(folded(card.title)))
        if each in CONCEPT_OF
    }
    if not named:
        named = {CONCEPT_OF[each] for each in map(folded, card.keywords) if each in CONCEPT_OF}
    return frozenset(named)


def _makes_something(card: RoutingCard) -> bool:
    """Whether questions about things are none for it: it writes code or formats, or none of its examples is such a question."""
    if card.tier in ("format", "language", "tech", "task") or _concepts_of(card):
        return True
    general = [read_prompt(each).is_general for each in card.examples[:50]]
    return bool(general) and sum(general) < 0.1 * len(general)
