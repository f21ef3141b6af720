"""What speaks for and against each card, for one prompt: a table that ``weights`` makes log-odds of.

Everything that depends on the cards alone is made once. A prompt then costs a few operations over arrays as long as
there are cards; what is the same for many of them (a keyword, a set of topics) is computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.card import DEFAULT_PRIORITY, RoutingCard
from xpm_runtime.router.head import Floats, Head
from xpm_runtime.router.heads import Heads
from xpm_runtime.router.hint import Hint, parse_hint
from xpm_runtime.router.keywords import Found, KeywordIndex
from xpm_runtime.router.lexical import LexicalIndex
from xpm_runtime.router.prompt import ReadPrompt, read_prompt
from xpm_runtime.router.signs import CONCEPT_OF, LANGUAGES
from xpm_runtime.router.topics import Topics, shipped_topics
from xpm_runtime.router.weights import BARE, OWN_HEAD, SIGNALS, TOPIC, place, weights_of
from xpm_runtime.router.words import folded, words_of

_MOST_LOG_ODDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalTable:
    """``values``: float32 (signals, cards), in the order of ``weights.SIGNALS``. ``topic_odds``: float32 (topics,)."""

    values: Floats
    topic_odds: Floats
    keywords: Found


class Signals:
    """Immutable. ``kinds``: int64 (cards,), which column of weights each card has; ``concepts``: what each is about."""

    def __init__(
        self, cards: Sequence[RoutingCard], topics: Topics, embedders: frozenset[str], ablated: frozenset[str]
    ) -> None:
        """
        Args:
            embedders: digests of those whose vectors ``table`` will be given.
            ablated: signals that stay 0, and "head" and "topics" for what cards bring and borrow.
        Raises:
            RequestError: a hint is no expression.
        """
        self._topics, self._ablated = topics, ablated
        self._keywords = KeywordIndex(cards)
        self._lexical = LexicalIndex([card.text for card in cards])
        parsed = {position: parse_hint(card.hint) for position, card in enumerate(cards)}
        self._hints: dict[int, Hint] = {position: hint for position, hint in parsed.items() if hint is not None}
        self.concepts = [_concepts_of(card) for card in cards]
        self._about = _having(self.concepts)
        self._of_languages = self._is_about(LANGUAGES)
        of_topics = np.array([topics.of_card(card) for card in cards], bool).reshape(len(cards), len(topics.topics))
        # cards name few different sets of topics: (sets, topics), and which set each card names
        self._sets, sets = np.unique(of_topics, axis=0, return_inverse=True)
        self._set_of: NDArray[np.int64] = sets.reshape(-1)
        uses_topics = of_topics.any(axis=1) & ("topics" not in ablated)
        uses_head = np.array([card.head is not None and "head" not in ablated for card in cards], bool)
        self.kinds: NDArray[np.int64] = np.where(uses_head, OWN_HEAD, np.where(uses_topics, TOPIC, BARE))
        self._uses_topics = uses_topics
        by_encoder = topics.heads.embedder != shipped_topics().heads.embedder
        self._weights = np.ascontiguousarray(weights_of(by_encoder=by_encoder)[self.kinds].T)
        self._heads = [] if "head" in ablated else _by_embedder(cards, embedders)
        self._priorities = np.array([card.priority - DEFAULT_PRIORITY for card in cards], np.float32)
        self._makes = np.array(
            [_makes_something(card, about) for card, about in zip(cards, self.concepts, strict=True)]
        )
        self._general_at = np.array([topic.is_general for topic in topics.topics])

    def table(self, read: ReadPrompt, vectors: Mapping[str, Floats]) -> SignalTable:
        """
        Args:
            vectors: digest of an embedder → its vector of the prompt.
        """
        topic_odds = self._topic_odds(read, vectors)
        table = np.zeros((len(SIGNALS), len(self.kinds)), np.float32)
        table[place("bias")] = 1
        for positions, heads in self._heads:
            odds = heads.log_odds(read.features, vectors.get(heads.embedder))
            table[place("head"), positions] = np.clip(odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        own = np.where(self._sets, topic_odds, -np.inf).max(axis=1, initial=-_MOST_LOG_ODDS)
        rival = np.where(self._sets, -np.inf, topic_odds).max(axis=1, initial=0)
        table[place("topic")] = own[self._set_of] * self._uses_topics
        table[place("rival")] = rival[self._set_of] * self._uses_topics
        table[place("general topic")] = topic_odds[self._general_at].max(initial=-_MOST_LOG_ODDS)
        if read.is_general:
            table[place("general")] = self._makes
            table[place("brief question")] = self._makes * ("asks:briefly" in read.signs)
        table[place("words in common")] = self._lexical.likeness(read.words)
        found = self._keywords.matches(read.folded, read.words)
        table[place("keywords")], table[place("ordinary keywords")] = np.minimum(found.counts[:2], 3)
        table[place("excluded")] = np.minimum(found.counts[2], 2)
        self._compare_concepts(read, table)
        self._follow_hints(read, topic_odds, table)
        table[place("priority")] = self._priorities
        for name in self._ablated & set(SIGNALS):
            table[place(name)] = 0
        return SignalTable(values=table, topic_odds=topic_odds, keywords=found)

    def log_odds(self, table: SignalTable) -> Floats:
        """float32 (cards,): that each answers the prompt, rather than the base."""
        odds: Floats = (table.values * self._weights).sum(axis=0)
        return odds

    def topics_named(self, position: int) -> list[str]:
        """Topics whose heads a card borrows."""
        named = self._sets[self._set_of[position]]
        return [topic.name for topic, is_named in zip(self._topics.topics, named, strict=True) if is_named]

    def _topic_odds(self, read: ReadPrompt, vectors: Mapping[str, Floats]) -> Floats:
        if "topics" in self._ablated:
            return np.full(len(self._topics.topics), -_MOST_LOG_ODDS, np.float32)
        return self._topics.log_odds(read.features, vectors.get(self._topics.heads.embedder))

    def _compare_concepts(self, read: ReadPrompt, table: Floats) -> None:
        mentioned = read.named | read.shown
        if not mentioned:
            return
        if not read.is_general:
            table[place("named")] = self._is_about(read.named)
        table[place("shown")] = self._is_about(read.shown)
        if languages := mentioned & LANGUAGES:
            table[place("other language")] = self._of_languages & ~self._is_about(languages)

    def _follow_hints(self, read: ReadPrompt, topic_odds: Floats, table: Floats) -> None:
        if not self._hints:
            return
        likely = zip(self._topics.topics, topic_odds, strict=True)
        seen = read.seen(frozenset(topic.name for topic, odds in likely if odds > 0))
        for position, hint in self._hints.items():
            table[place("hint"), position] = 1 if hint(seen) else -1

    def _is_about(self, concepts: frozenset[str]) -> NDArray[np.bool_]:
        """bool (cards,): whether a card is about one of the concepts."""
        found = np.zeros(len(self.concepts), bool)
        for concept in concepts:
            if concept in self._about:
                found[self._about[concept]] = True
        return found


def _by_embedder(cards: Sequence[RoutingCard], embedders: frozenset[str]) -> list[tuple[NDArray[np.int64], Heads]]:
    """(positions of cards, their heads), those together that use the vectors of one embedder, or none."""
    groups: dict[str, list[tuple[int, Head]]] = {}
    for position, card in enumerate(cards):
        if card.head is not None:
            head = card.head.used_with(embedders)
            groups.setdefault(head.embedder if head.embedder in embedders else "", []).append((position, head))
    return [
        (np.array([position for position, _ in group]), Heads.of([head for _, head in group], digest))
        for digest, group in groups.items()
    ]


def _having(sets: Sequence[frozenset[str]]) -> dict[str, NDArray[np.int64]]:
    """Each member → the positions of the sets that have it."""
    found: dict[str, list[int]] = {}
    for position, members in enumerate(sets):
        for each in members:
            found.setdefault(each, []).append(position)
    return {each: np.array(positions, np.int64) for each, positions in found.items()}


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


def _makes_something(card: RoutingCard, concepts: frozenset[str]) -> bool:
    """Whether questions about things are none for it: it writes code or formats, or none of its
    examples is such a question."""
    if card.tier in ("format", "language", "tech", "task") or concepts:
        return True
    general = [read_prompt(each).is_general for each in card.examples[:50]]
    return bool(general) and sum(general) < 0.1 * len(general)
