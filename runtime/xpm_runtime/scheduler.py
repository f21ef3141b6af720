"""Which sequences run in the next step, on which lanes.

Pure arithmetic on counters: it touches no array. A step prefills at most a chunk of tokens, of one long prompt or of
several short ones, then decodes every prefilled lane, so a long prompt never stops the others for longer than a chunk.

Invariants (``violations`` lists those broken): a sequence is waiting, on exactly one lane, or finished; lanes hold only
unfinished sequences; nobody computes past its lane's capacity; what running sequences may come to hold is within the
token budget. After ``admit``, the first in the queue waits only for a lane or for tokens.
"""

from collections import deque
from collections.abc import Sequence as Items
from dataclasses import dataclass

from xpm_runtime.errors import CapacityError
from xpm_runtime.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens ``start : stop`` of a sequence, to run at once: of its prompt, or several that follow
    one another by necessity."""

    sequence: Sequence
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: chunks to prefill; then ``num_rows`` lanes to decode, of which ``rows`` are looked at."""

    prefill: tuple[Chunk, ...]
    rows: tuple[Sequence, ...]

    @property
    def num_rows(self) -> int:
        return 1 + max((each.lane for each in self.rows if each.lane is not None), default=-1)


class Scheduler:
    """``token_budget``: how many tokens all lanes together may come to hold; as many as fit into them if None."""

    def __init__(self, *, num_lanes: int, capacity: int, chunk_tokens: int, token_budget: int | None = None) -> None:
        self.capacity = capacity
        self.token_budget = num_lanes * capacity if token_budget is None else token_budget
        self.chunk_tokens = chunk_tokens
        self.waiting: deque[Sequence] = deque()
        self.lanes: list[Sequence | None] = [None] * num_lanes

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; raises CapacityError if no lane could ever hold its prompt."""
        self.check(sequence)
        self.waiting.append(sequence)

    def check(self, sequence: Sequence) -> None:
        """Raise CapacityError if no lane could ever hold a sequence's prompt, or memory what it may come to."""
        if len(sequence.prompt_ids) > self.capacity:
            raise CapacityError(
                f"the prompt has {len(sequence.prompt_ids)} tokens, a lane holds {self.capacity}",
                hint="shorten the prompt, or load the base with a larger context (beyond its own with scaled "
                "positions: rope)",
            )
        if self.reserve(sequence) > self.token_budget:
            raise CapacityError(
                f"the request may come to {self.reserve(sequence)} tokens, there is memory for {self.token_budget}",
                hint="ask for fewer tokens (max_tokens), or raise the memory budget",
            )

    @property
    def running(self) -> list[Sequence]:
        return [sequence for sequence in self.lanes if sequence is not None]

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not any(self.lanes)

    def has_room(self, sequence: Sequence, *, without: Items[Sequence] = ()) -> bool:
        """Whether a sequence would be given a lane now, behind those that wait already, if
        some of the running were not."""
        waiting = [*self.waiting, sequence]
        running = [each for each in self.running if each not in without]
        needed = sum(map(self.reserve, running)) + sum(map(self.reserve, waiting))
        return len(running) + len(waiting) <= len(self.lanes) and needed <= self.token_budget

    def admit(self) -> tuple[Sequence, ...]:
        """Give free lanes to those who wait, in order; what they may come to hold is set aside."""
        admitted = []
        left = self.token_budget - sum(map(self.reserve, self.running))
        for lane, holder in enumerate(self.lanes):
            if holder is None and self.waiting and self.reserve(self.waiting[0]) <= left:
                sequence = self.waiting.popleft()
                left -= self.reserve(sequence)
                self.lanes[lane], sequence.lane = sequence, lane
                admitted.append(sequence)
        return tuple(admitted)

    def plan(self) -> Plan:
        """One step of those that have a lane."""
        chunks, rows, left = [], [], self.chunk_tokens
        running = [sequence for sequence in self.running if sequence.ranked is None]
        num_decoding = sum(sequence.is_prefilled for sequence in running)
        for sequence in running:
            # A run of its own costs about as much as one of all rows: several tokens must wait for it,
            # more than there are rows.
            if sequence.is_prefilled and sequence.num_pending <= max(1, num_decoding):
                rows.append(sequence)
            elif left:
                stop = min(sequence.num_computed + left, sequence.num_tokens)
                chunks.append(Chunk(sequence, sequence.num_computed, stop))
                left -= stop - sequence.num_computed
        return Plan(tuple(chunks), tuple(rows))

    def reserve(self, sequence: Sequence) -> int:
        """Tokens that a sequence may come to hold, by the memory that they take."""
        return self.longest(sequence) if sequence.num_held is None else sequence.num_held

    def longest(self, sequence: Sequence) -> int:
        """Tokens that a sequence may come to have."""
        return min(len(sequence.prompt_ids) + sequence.sampler.params.max_tokens, self.capacity)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out of the queue or off its lane."""
        if sequence.lane is not None:
            self.lanes[sequence.lane] = None
            sequence.lane = None
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def replace(self, sequence: Sequence, other: Sequence) -> None:
        """Give a running sequence's lane to another."""
        assert sequence.lane is not None
        self.lanes[sequence.lane], other.lane, sequence.lane = other, sequence.lane, None

    def place(self, sequence: Sequence) -> int | None:
        """Give a sequence a free lane at once, ahead of those that wait; None if there is none, or no budget for it."""
        if None not in self.lanes or self.reserve(sequence) + sum(map(self.reserve, self.running)) > self.token_budget:
            return None
        sequence.lane = self.lanes.index(None)
        self.lanes[sequence.lane] = sequence
        return sequence.lane

    def gap(self) -> tuple[int, int] | None:
        """(a free lane, the last used lane above it) that moving down would close, or None."""
        used = [lane for lane, holder in enumerate(self.lanes) if holder is not None]
        if not used or len(used) == used[-1] + 1:
            return None
        return self.lanes.index(None), used[-1]

    def move(self, source: int, target: int) -> None:
        sequence = self.lanes[source]
        assert sequence is not None
        assert self.lanes[target] is None
        self.lanes[source], self.lanes[target], sequence.lane = None, sequence, target

    def violations(self) -> list[str]:
        """Every broken invariant, for tests to assert that there is none."""
        found = []
        for lane, sequence in enumerate(self.lanes):
            if sequence is None:
                continue
            if sequence.lane != lane:
                found.append(f"lane {lane} holds a sequence that believes to be on {sequence.lane}")
            if sequence.is_finished:
                found.append(f"lane {lane} holds a finished sequence")
            if sequence.num_computed > self.capacity:
                found.append(f"lane {lane} holds {sequence.num_computed} of {self.capacity} tokens")
            written = len(sequence.prompt_ids) + max(0, len(sequence.token_ids) - 1)
            if sequence.is_prefilled and not sequence.token_ids:
                found.append(f"lane {lane} holds a sequence that is prefilled and has no token")
            is_exact = sequence.guide is None  # else tokens that had to follow may not be computed yet
            if sequence.is_prefilled and (sequence.num_computed > written or (is_exact and sequence.num_pending > 1)):
                found.append(f"lane {lane} has computed {sequence.num_computed} of {written} tokens")
        held = self.running
        if sum(map(self.reserve, held)) > self.token_budget:
            found.append("the running sequences may come to hold more tokens than there is memory for")
        if len({id(sequence) for sequence in held}) != len(held):
            found.append("a sequence is on two lanes")
        for sequence in self.waiting:
            if sequence.lane is not None or sequence.is_finished or sequence in held:
                found.append("a waiting sequence is also running or finished")
        return found
