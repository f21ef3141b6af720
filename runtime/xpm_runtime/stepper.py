"""One step of all sequences: admit → plan → prefill → decode → sample → commit. Knows no threads, prompts or results.

A step is a transaction for each sequence: what it computed, its token and its text are committed together or
not at all. What goes wrong with one ends that one, with ``finish_reason`` "error"; what goes wrong with a run
ends those that ran in it.
"""

import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import partial

from xpm_runtime.activation import parts_of
from xpm_runtime.errors import EngineError
from xpm_runtime.forms.form import RowLogits, Runner
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import Lanes
from xpm_runtime.packs import Packs
from xpm_runtime.prefix import Later, PrefixCache
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.scheduler import Chunk, Plan, Scheduler
from xpm_runtime.sequence import FinishReason, Sequence
from xpm_runtime.slots import Acting
from xpm_runtime.speculation import RunCosts
from xpm_runtime.writing import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did: prompt tokens prefilled, rows decoded, sequences that finished."""

    num_prefilled: int
    num_decoded: int
    finished: tuple[Sequence, ...]


class Stepper:
    """Moves sequences through the lanes."""

    def __init__(
        self,
        graph: GraphSpec,
        runner: Runner,
        lanes: Lanes,
        scheduler: Scheduler,
        prefixes: PrefixCache,
        adapters: ResidentAdapters,
        packs: Packs,
    ) -> None:
        self._graph = graph
        self._runner = runner
        self._lanes = lanes
        self._scheduler = scheduler
        self._prefixes = prefixes
        self._adapters = adapters
        self._packs = packs
        self._writer = Writer(graph.eos_token_ids, lanes.capacity)
        self._costs = RunCosts()
        self._ended: list[Sequence] = []  # in this step

    def step(self) -> StepReport:
        """Advance every running sequence by one token, and waiting prompts by a chunk."""
        self._admit()
        plan = self._that_fits(self._without_broken(self._scheduler.plan()))
        acting = [*(chunk.sequence for chunk in plan.prefill), *plan.rows]
        self._packs.serve(scaled_adapter for sequence in acting for scaled_adapter in sequence.acting)
        if not self._speculate(plan):
            for chunk in plan.prefill:
                self._attempt([chunk.sequence], partial(self._prefill, chunk))
            for rows in _of_like_positions(plan.rows):
                self._decode_apart(rows)
        self._trim()
        self._compact()
        finished, self._ended = tuple(self._ended), []
        num_prefilled = sum(max(0, min(c.stop, len(c.sequence.prompt_ids)) - c.start) for c in plan.prefill)
        return StepReport(num_prefilled=num_prefilled, num_decoded=len(plan.rows), finished=finished)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out of the queue or off its lane."""
        lane = sequence.lane
        self._scheduler.remove(sequence)
        if lane is not None:
            self._lanes.release(lane, sequence.num_computed)

    def _admit(self) -> None:
        """Put what is known of a prompt's beginning into the lane that its sequence was just given."""
        for sequence in self._scheduler.admit():
            assert sequence.lane is not None
            self._lanes.configure(sequence.lane, sequence.cache)
            acting, later = self._keys(sequence)
            if sequence.sampler.params.prompt_logprobs and not sequence.token_ids:
                continue  # of what is not computed nothing is known
            ids = [*sequence.prompt_ids, *sequence.token_ids]
            sequence.num_computed = self._prefixes.restore(sequence.lane, acting, ids, later)
            if not sequence.token_ids:
                sequence.num_reused = sequence.num_computed

    def _without_broken(self, plan: Plan) -> Plan:
        """The plan without sequences whose adapters can't act any more; those end."""
        broken: set[int] = set()
        for sequence in [*(chunk.sequence for chunk in plan.prefill), *plan.rows]:
            try:
                self._packs.check(sequence.acting)
            except Exception as error:  # whatever it is, it is this sequence's
                self._fail(sequence, error)
                broken.add(id(sequence))
        rows = tuple(sequence for sequence in plan.rows if id(sequence) not in broken)
        return Plan(tuple(chunk for chunk in plan.prefill if id(chunk.sequence) not in broken), rows)

    def preempt(self, sequence: Sequence) -> None:
        """Take a sequence off its lane, to be queued again; what is computed is kept as far as
        the prefix cache holds it."""
        if sequence.lane is not None:
            ids = [*sequence.prompt_ids, *sequence.token_ids][: sequence.num_computed]
            self._keep(sequence, ids)
        self.remove(sequence)
        sequence.forget()

    def _that_fits(self, plan: Plan) -> Plan:
        """The plan without those whose adapters have no room beside the others'; they wait for them to end."""
        sequences = [*plan.rows, *(chunk.sequence for chunk in plan.prefill)]
        fits = self._packs.fit(sequence.acting for sequence in sequences)
        if all(fits):
            return plan
        kept = {id(sequence) for sequence, is_kept in zip(sequences, fits, strict=True) if is_kept}
        return Plan(
            tuple(chunk for chunk in plan.prefill if id(chunk.sequence) in kept),
            tuple(sequence for sequence in plan.rows if id(sequence) in kept),
        )

    def _decode_apart(self, rows: tuple[Sequence, ...]) -> None:
        """Decode rows together; if the run fails, half by half, so that it ends only those by which it does."""
        try:
            self._decode(Plan((), rows))
        except Exception as error:  # the other sequences must go on
            left = tuple(sequence for sequence in rows if not sequence.is_finished)
            if len(left) < 2:
                for sequence in left:
                    self._fail(sequence, error)
                return
            self._decode_apart(left[: len(left) // 2])
            self._decode_apart(left[len(left) // 2 :])

    def _attempt(self, sequences: Items[Sequence], run: Callable[[], None]) -> None:
        """Do a run; if it fails, end the sequences that were in it and did not end by themselves."""
        try:
            run()
        except Exception as error:  # the other sequences must go on
            for sequence in sequences:
                if not sequence.is_finished:
                    self._fail(sequence, error)

    def _prefill(self, chunk: Chunk) -> None:
        """Run a chunk; if nothing is left to run behind it, its sequence gets its next token."""
        started = time.perf_counter()
        sequence = chunk.sequence
        assert sequence.lane is not None
        ids = [*self._packs.soft_ids(sequence.acting), *sequence.prompt_ids[sequence.num_soft :], *sequence.token_ids]
        is_prompt = not sequence.token_ids
        every = is_prompt and sequence.sampler.params.prompt_logprobs
        for start, stop, acting in parts_of(sequence.stages, chunk.start, chunk.stop):
            logits = self._runner.prefill(
                ids[start:stop],
                lane=sequence.lane,
                start=start,
                pack=self._packs.current,
                acting=acting,
                every=every,
                rope=sequence.rope,
            )
            if every:
                self._writer.tell_prompt(sequence, logits, start, stop)
        if chunk.stop < sequence.num_tokens:
            sequence.num_computed = chunk.stop
        else:
            if is_prompt:
                self._keep(sequence, sequence.prompt_ids)
            self._advance(sequence, RowLogits(logits[-1:]), row=0, num_computed=chunk.stop)
        elapsed_ms = 1e3 * (time.perf_counter() - started)
        if is_prompt:
            sequence.prefill_ms += elapsed_ms
        else:
            sequence.decode_ms += elapsed_ms

    def _decode(self, plan: Plan) -> None:
        """Decode one token of every planned lane; lanes between them that are not planned compute nothing of use."""
        started = time.perf_counter()
        tokens, lengths = [0] * plan.num_rows, [0] * plan.num_rows
        rows: list[Acting] = [()] * plan.num_rows
        for lane, holder in enumerate(self._scheduler.lanes[: plan.num_rows]):
            if holder is not None:
                # What is written behind a lane that is not sampled is overwritten by its next
                # run; a full lane ends now.
                lengths[lane] = min(holder.num_computed, self._lanes.capacity - 1)
        for sequence in plan.rows:
            assert sequence.lane is not None
            tokens[sequence.lane] = sequence.token_ids[-sequence.num_pending]
            rows[sequence.lane] = sequence.acting
        logits = self._runner.decode(tokens, lengths, tuple(rows), self._packs.current, plan.rows[0].rope)
        for sequence in plan.rows:
            assert sequence.lane is not None
            if sequence.num_pending > 1:
                sequence.num_computed += 1
            else:
                self._advance(sequence, logits, row=sequence.lane, num_computed=sequence.num_computed + 1)
        elapsed_ms = 1e3 * (time.perf_counter() - started)
        for sequence in plan.rows:
            sequence.decode_ms += elapsed_ms

    # Speculation: a lane that runs alone may run guessed tokens behind its own

    def _speculate(self, plan: Plan) -> bool:
        """Do a plan of one sequence that asks for it with as many guessed tokens as pay; False if that is not so.

        Beside others it would cost them a run, where each of their tokens costs a row of one.
        """
        acting = [*(chunk.sequence for chunk in plan.prefill), *plan.rows]
        if len(acting) != 1 or acting[0].speculation is None or len(self._scheduler.running) > 1:
            return False
        (sequence,) = acting
        if not sequence.is_prefilled or sequence.num_pending > self._scheduler.chunk_tokens:
            return False
        draft = self._draft(sequence)
        if not draft and not plan.rows:
            return False
        started, count = time.perf_counter(), sequence.num_pending + len(draft)
        if draft:
            self._attempt([sequence], partial(self._verify, sequence, draft))
        else:
            self._decode_apart(plan.rows)
        self._costs.saw(count, 1e3 * (time.perf_counter() - started))
        return True

    def _draft(self, sequence: Sequence) -> list[int]:
        """Guesses of what follows all that is known of a sequence, as far as they can be written."""
        assert sequence.speculation is not None
        ids, num_known = sequence.prompt_ids, sequence.num_soft + sequence.speculation.num_known
        new = [*ids[num_known:], *sequence.token_ids[max(0, num_known - len(ids)) :]]
        most = self._writer.most(sequence) - len(sequence.token_ids) - 1
        draft = sequence.speculation.propose(new, num_pending=sequence.num_pending, most=most, costs=self._costs)
        if draft and sequence.guide is not None:
            ends = self._graph.eos_token_ids
            draft = draft[: next((place for place, token in enumerate(draft) if token in ends), len(draft))]
            draft = draft[: sequence.guide.num_allowed(draft)]
        return draft

    def _verify(self, sequence: Sequence, draft: list[int]) -> None:
        """Run what is pending and a draft at once; draw from each row in turn while what was drawn is
        what the next one follows.

        Every token is drawn as it would be without a draft, so a text is what it would be, and a guess is right as
        often as its probability says (arXiv 2211.17192, with a drafter that is always certain).
        """
        assert sequence.lane is not None
        assert sequence.speculation is not None
        started = time.perf_counter()
        first, known, place = (
            sequence.num_computed,
            sequence.num_pending,
            len(sequence.token_ids) - sequence.num_pending,
        )
        run = [*sequence.token_ids[place:], *draft]
        values = self._runner.prefill(
            run,
            lane=sequence.lane,
            start=first,
            pack=self._packs.current,
            acting=sequence.acting,
            every=True,
            rope=sequence.rope,
        )
        logits, agreed = RowLogits(values), known
        while not sequence.is_finished and known == agreed <= len(run):
            self._advance(sequence, logits, row=known - 1, num_computed=first + known)
            written = sequence.token_ids[place:]
            known, agreed = len(written), _num_shared(run, written)
        if not sequence.is_finished:
            sequence.num_computed = first + agreed
        sequence.speculation.num_drafted += len(draft)
        sequence.speculation.num_accepted += max(0, agreed - len(run) + len(draft))
        sequence.decode_ms += 1e3 * (time.perf_counter() - started)

    def _advance(self, sequence: Sequence, logits: RowLogits, *, row: int, num_computed: int) -> None:
        """Draw the next token and commit it, and what must follow it, with what was computed; whatever goes wrong is
        this sequence's. One of a beam search is ranked instead, and waits until that has chosen."""
        try:
            if sequence.sampler.params.num_beams > 1:
                sequence.ranked = self._writer.rank(sequence, logits[row])
                sequence.num_computed = num_computed
                return
            written, is_over = self._writer.write(sequence, self._writer.draw(sequence, logits, row))
            told = self._writer.told(sequence, logits, row, written)
        except Exception as error:  # a sampler's, a tokenizer's, or a grammar's
            self._fail(sequence, error)
            return
        sequence.num_computed = num_computed
        sequence.token_ids += written
        sequence.reports += told
        if reason := self._writer.reason(sequence, is_over=is_over):
            self._end(sequence, reason)

    def follow(self, sequence: Sequence, token: int) -> FinishReason | None:
        """Write a token that was chosen for a sequence that was ranked; how that ends it, None if it goes on."""
        written, is_over = self._writer.write(sequence, token)
        sequence.token_ids += written
        return self._writer.reason(sequence, is_over=is_over)

    def replace(self, sequence: Sequence, other: Sequence) -> None:
        """Give a running sequence's lane, and what is computed on it, to another that begins as it does."""
        self._scheduler.replace(sequence, other)
        sequence.finish_reason = "cancelled"

    def place_beside(self, sequence: Sequence, other: Sequence) -> None:
        """Give a sequence that begins as a running one does a copy of its lane; queue it if none is free."""
        source, target = sequence.lane, self._scheduler.place(other)
        if source is None or target is None or not self._lanes.copy(source, target, other.num_computed):
            self._scheduler.remove(other)
            other.forget()
            self._scheduler.add(other)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        parts = (error.message, error.context) if isinstance(error, EngineError) else (type(error).__name__, str(error))
        sequence.error = ": ".join(part for part in parts if part)
        self._end(sequence, "error")

    def _end(self, sequence: Sequence, reason: FinishReason) -> None:
        """Free the lane."""
        sequence.finish_reason = reason
        self.remove(sequence)
        self._ended.append(sequence)

    def _trim(self) -> None:
        """Give back what has left the windows of sequences that have one."""
        for sequence in self._scheduler.running:
            if sequence.cache is not None and sequence.lane is not None:
                self._lanes.trim(sequence.lane, sequence.num_computed)

    def _compact(self) -> None:
        """Move the last lanes down onto free ones, so that a decode run has no idle rows."""
        while gap := self._scheduler.gap():
            target, source = gap
            sequence = self._scheduler.lanes[source]
            assert sequence is not None
            if not self._lanes.move(source, target, sequence.num_computed):
                return
            self._scheduler.move(source, target)

    def _keep(self, sequence: Sequence, ids: list[int]) -> None:
        """Remember what its lane holds of ``ids``."""
        assert sequence.lane is not None
        if self._lanes.num_dropped(sequence.lane):
            return
        acting, later = self._keys(sequence)
        self._prefixes.keep(sequence.lane, acting, ids, later)

    def _keys(self, sequence: Sequence) -> tuple[tuple[str, ...], tuple[Later, ...]]:
        """What its prefixes are found by, of its first tokens and from where on later: which adapters act, how
        strongly, how positions are scaled and how the cache is kept."""

        def keys(acting: Acting) -> tuple[str, ...]:
            known = [(self._adapters.attached[name].key, scale) for name, scale in acting]
            return tuple(key if scale == 1 else f"{key} at {scale!r}" for key, scale in known)

        first, *later = sequence.stages
        rope = () if sequence.rope is None else (f"rope {sequence.rope!r}",)
        cache = () if sequence.cache is None else (f"cache {sequence.cache}",)
        return keys(first.acting) + rope + cache, tuple((stage.first, keys(stage.acting)) for stage in later)


def _of_like_positions(rows: tuple[Sequence, ...]) -> list[tuple[Sequence, ...]]:
    """Rows that may run together: a run has one table of positions."""
    groups: dict[RopeScaling | None, list[Sequence]] = {}
    for sequence in rows:
        groups.setdefault(sequence.rope, []).append(sequence)
    return [tuple(group) for group in groups.values()]


def _num_shared(these: Items[int], those: Items[int]) -> int:
    """How many of the first tokens are the same."""
    pairs = zip(these, those, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(these), len(those)))
