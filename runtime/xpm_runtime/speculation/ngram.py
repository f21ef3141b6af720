"""Prompt look-up: a text is guessed to go on as it went on after the same tokens before (arXiv 2304.04487, "LLMA")."""

from collections.abc import Iterable

MIN_TOKENS, MAX_TOKENS = 2, 4


class NgramDrafter:
    """Of one text, prompt and output alike. A token costs a few dictionary entries, a draft as many look-ups."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        # For each length, where the text went on after these tokens, the last time that it did.
        self._next_of: dict[int, dict[tuple[int, ...], int]] = {n: {} for n in range(MIN_TOKENS, MAX_TOKENS + 1)}

    @property
    def num_tokens(self) -> int:
        return len(self._ids)

    def extend(self, ids: Iterable[int]) -> None:
        for token in ids:
            place = len(self._ids)
            for length, places in self._next_of.items():
                if place >= length:
                    places[tuple(self._ids[place - length :])] = place
            self._ids.append(token)

    def draft(self, count: int) -> tuple[list[int], int]:
        """(up to ``count`` tokens, how many of the last ones were found before): the longest match, of equals
        the latest; none if there is none. A match that reaches to the end goes on with what it guessed
        itself, as a repetition does."""
        for length in range(MAX_TOKENS, MIN_TOKENS - 1, -1):
            place = self._next_of[length].get(tuple(self._ids[-length:]))
            if place is not None:
                guessed = self._ids[place : place + count]
                while len(guessed) < count:
                    guessed += guessed[: count - len(guessed)]
                return guessed, length
        return [], 0
