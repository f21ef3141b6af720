"""Whether to guess, and how far: what a draft may be expected to bring, beside what the run that verifies it costs.

A draft is made at every step, also where none is run: comparing it with what is written then costs nothing, and
tells how often such guesses are right. So a text that does not repeat itself pays nothing, and guessing begins
by itself where one does.
"""

from collections.abc import Sequence as Items

from xpm_runtime.speculation.costs import RunCosts
from xpm_runtime.speculation.ngram import MAX_TOKENS, MIN_TOKENS, NgramDrafter

METHODS = ("ngram",)
RUN_SIZES = (2, 4, 8, 16)  # few, so that what each costs is soon known
_FIRST_CHANCE = {2: 0.2, 3: 0.3, 4: 0.5}  # that a guess is right, by how many tokens it follows from
_WEIGHT = 1 / 8  # of what was seen last
_MARGIN = 1.1  # what a run must promise, in tokens for the price of one, beside a run without a draft


class Speculation:
    """Of one sequence. ``num_drafted`` tokens were guessed and run, ``num_accepted`` of them were what came."""

    def __init__(self) -> None:
        self.num_drafted = 0
        self.num_accepted = 0
        self._drafter = NgramDrafter()
        self._chances = {length: _FIRST_CHANCE[length] for length in range(MIN_TOKENS, MAX_TOKENS + 1)}
        self._guess: list[int] = []  # of what follows the tokens that are known to the drafter
        self._length = 0  # of the match that it was made by

    @property
    def num_known(self) -> int:
        """Tokens of prompt and output that were seen."""
        return self._drafter.num_tokens

    def propose(self, new: Items[int], *, num_pending: int, most: int, costs: RunCosts) -> list[int]:
        """Tokens to run behind those that are pending; none where a run without them promises more.

        Args:
            new: what was written since the last call, at first the prompt too.
            num_pending: how many tokens the run has without a draft, at least 1.
            most: of a draft; what could not be written is not worth guessing.
        """
        self._learn(new)
        self._drafter.extend(new)
        self._guess, self._length = self._drafter.draft(RUN_SIZES[-1])
        if not self._guess or not costs.is_known:
            return []
        return self._guess[: self._best(num_pending, min(most, len(self._guess)), costs)]

    def _best(self, num_pending: int, most: int, costs: RunCosts) -> int:
        """The length of a draft that promises the most tokens for what its run costs."""
        chance = self._chances[self._length]
        best, promised = 0, _MARGIN / costs.of(num_pending)
        for size in RUN_SIZES:
            count = size - num_pending
            if 0 < count <= most:
                expected = sum(chance**place for place in range(count + 1)) / costs.of(size)
                if expected > promised:
                    best, promised = count, expected
        return best

    def _learn(self, new: Items[int]) -> None:
        """How the last guess compares with what came."""
        for guessed, token in zip(self._guess, new, strict=False):
            chance = self._chances[self._length]
            self._chances[self._length] = chance + _WEIGHT * ((guessed == token) - chance)
            if guessed != token:
                return
