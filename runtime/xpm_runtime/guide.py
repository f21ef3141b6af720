"""Leads one text under a grammar, and to a legal end within the tokens that it may have."""

from copy import copy
from functools import cached_property

from xpm_runtime.closing import shortest_end
from xpm_runtime.constraint import Allowed, ByteConstraint, Constraint, Constraints
from xpm_runtime.grammar import Grammar
from xpm_runtime.vocabulary import ByteVocabulary

_NEAR = 32  # tokens to spare from which on every one is weighed
_UNKNOWN = "…"


class Guides:
    """Begins guides for one vocabulary."""

    def __init__(self, constraints: Constraints) -> None:
        self.constraints = constraints
        self.of_bytes = Constraints(ByteVocabulary)

    def begin(self, grammar: Grammar) -> "Guide":
        """Raises ConstraintError if the grammar can't be compiled."""
        return Guide(self, grammar, self.constraints.begin(grammar))


class Guide:
    """Of one text, from its beginning."""

    def __init__(self, guides: Guides, grammar: Grammar, constraint: Constraint) -> None:
        self._guides = guides
        self._grammar = grammar
        self._constraint = constraint
        self._written: list[int] = []
        self._next_look = 0  # how many tokens are written when it is looked again whether there is a way out

    @property
    def is_dear(self) -> bool:
        """Whether ``allowed`` costs much more than ``allows``: a millisecond, where all but
        JSON's few terminals compete."""
        return self._grammar.kind != "json_schema"

    def allowed(self) -> Allowed:
        """bool (vocab,): the tokens that may come next; raises ConstraintError if the grammar is too complex here."""
        return self._constraint.allowed()

    def allows(self, token: int, *, is_end: bool) -> bool:
        return self._constraint.is_complete if is_end else self._constraint.allows([token])

    def num_allowed(self, tokens: list[int]) -> int:
        """How many of these, of which none ends the text, may come next, one after the other."""
        return self._constraint.num_allowed(tokens)

    @property
    def is_closed(self) -> bool:
        """Whether the text must end here."""
        return self._constraint.is_closed

    def copy(self) -> "Guide":
        """Another of the same text, which may go on differently."""
        other = copy(self)
        other._constraint, other._written = self._constraint.copy(), [*self._written]
        return other

    def write(self, token: int, most: int, *, is_alone: bool = False) -> tuple[list[int], bool]:
        """Go on behind an allowed token that does not end the text.

        Args:
            most: how many tokens there may still be, at least 1.
            is_alone: what must follow is left for the next time.
        Returns:
            (it and those that must follow it, or instead the shortest way to a legal end if behind it there would be
            none in time; whether that was it)
        """
        before = self._constraint.copy()
        self._constraint.accept([token])
        forced = [] if is_alone else self._without_control(self._constraint.forced())[: most - 1]
        self._constraint.accept(forced)
        tokens = [token, *forced]
        left = most - len(tokens)
        if len(self._written) + len(tokens) >= self._next_look and not self._is_within(tokens, left):
            way_out = self._way_out(before, [])
            if way_out is not None and len(way_out) <= most:
                before.accept(way_out)
                self._constraint, tokens = before, way_out
                self._written += tokens
                return tokens, True
        self._written += tokens
        return tokens, False

    def missing(self, text: str) -> str | None:
        """What would make ``text`` complete, "…" if that is not known; None if it is complete."""
        if self._constraint.is_complete and self._guides.constraints.decode(self._written) == text.encode():
            return None
        end = shortest_end(self._bytes, text.encode())
        return _UNKNOWN if end is None else end.decode(errors="replace") or None

    @cached_property
    def _bytes(self) -> ByteConstraint:
        return self._guides.of_bytes.begin_bytes(self._grammar)

    def _is_within(self, tokens: list[int], left: int) -> bool:
        """Whether the text can be ended in ``left`` tokens behind ``tokens``; decides when that is looked at again."""
        if self._next_look == 0 and left > _NEAR:
            self._next_look = left // 4
            return True
        end, num_written = self._way_out(self._constraint, tokens), len(self._written) + len(tokens)
        if end is None:  # a long search, in vain: not for every token
            self._next_look = num_written + max(4, left // 2)
            return True
        spare = left - len(end)
        self._next_look = num_written + (spare // 6 if spare > _NEAR else 1)
        return spare >= 0

    def _way_out(self, constraint: Constraint, tokens: list[int]) -> list[int] | None:
        """The tokens of the shortest known end behind what is written and ``tokens``; None if there is none."""
        if constraint.is_complete:
            return []
        constraints = self._guides.constraints
        written = constraints.decode(self._written + tokens)
        end = shortest_end(self._bytes, written)
        found = None if end is None else self._without_control(constraints.encode(end))
        return found if found is not None and constraint.allows(found) else None

    def _without_control(self, tokens: list[int]) -> list[int]:
        """Up to the first special token, which no text is."""
        special = self._guides.constraints.special
        return tokens[: next((place for place, each in enumerate(tokens) if each in special), len(tokens))]
