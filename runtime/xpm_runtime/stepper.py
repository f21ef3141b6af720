"""One step of all sequences: admit → plan → prefill → decode → sample → commit. Knows no threads, prompts or results."""

import time
from dataclasses import dataclass

from xpm_runtime.cuda import CudaRunner
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.packs import Packs
from xpm_runtime.prefix import PrefixCache
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.runner import Runner
from xpm_runtime.scheduler import Chunk, Plan, Scheduler
from xpm_runtime.sequence import Sequence
from xpm_runtime.slots import Composition

_Sampled = list[tuple[Sequence, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did: prompt tokens prefilled, rows decoded, sequences that finished."""

    num_prefilled: int
    num_decoded: int
    finished: tuple[Sequence, ...]


class Stepper:
    """Moves sequences through the lanes."""

    def __init__(
        self, graph: GraphSpec, runner: Runner | CudaRunner, lanes: KvLanes, scheduler: Scheduler, prefixes: PrefixCache,
        adapters: ResidentAdapters, packs: Packs,
    ) -> None:  # fmt: skip
        self._graph = graph
        self._runner = runner
        self._lanes = lanes
        self._scheduler = scheduler
        self._prefixes = prefixes
        self._adapters = adapters
        self._packs = packs

    def step(self) -> StepReport:
        """Advance every running sequence by one token, and waiting prompts by a chunk."""
        self._admit()
        plan = self._scheduler.plan()
        acting = [*(chunk.sequence for chunk in plan.prefill), *plan.rows]
        self._packs.serve(name for sequence in acting for name in sequence.composition)
        sampled = [pair for chunk in plan.prefill for pair in self._prefill(chunk)]
        sampled += self._decode(plan)
        finished = tuple(sequence for sequence, token in sampled if self._commit(sequence, token))
        self._compact()
        num_prefilled = sum(chunk.stop - chunk.start for chunk in plan.prefill)
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
            acting = self._numbers(sequence.composition)
            sequence.num_reused = self._prefixes.restore(sequence.lane, acting, sequence.prompt_ids)
            sequence.num_computed = sequence.num_reused

    def _prefill(self, chunk: Chunk) -> _Sampled:
        """Prefill a chunk; the sequence with its first token if that was its last chunk."""
        started = time.perf_counter()
        sequence = chunk.sequence
        assert sequence.lane is not None
        ids = [*self._packs.soft_ids(sequence.composition), *sequence.prompt_ids[sequence.num_soft :]]
        logits = self._runner.prefill(
            ids[chunk.start : chunk.stop], lane=sequence.lane, start=chunk.start, pack=self._packs.current,
            composition=sequence.composition,
        )  # fmt: skip
        sequence.num_computed = chunk.stop
        sampled = []
        if sequence.is_prefilled:
            sampled.append((sequence, sequence.sampler.choose(logits[0], sequence.seen)))
            self._prefixes.keep(sequence.lane, self._numbers(sequence.composition), sequence.prompt_ids)
        sequence.prefill_ms += 1e3 * (time.perf_counter() - started)
        return sampled

    def _decode(self, plan: Plan) -> _Sampled:
        """Decode one token of every planned lane; lanes between them that are not planned compute nothing of use."""
        if not plan.rows:
            return []
        started = time.perf_counter()
        tokens, lengths = [0] * plan.num_rows, [0] * plan.num_rows
        compositions: list[Composition] = [()] * plan.num_rows
        for lane, holder in enumerate(self._scheduler.lanes[: plan.num_rows]):
            if holder is not None:
                # What is written behind a lane that is not sampled is overwritten by its next run; a full lane ends now.
                lengths[lane] = min(holder.num_computed, self._lanes.capacity - 1)
        for sequence in plan.rows:
            assert sequence.lane is not None
            tokens[sequence.lane] = sequence.token_ids[-1]
            compositions[sequence.lane] = sequence.composition
        logits = self._runner.decode(tokens, lengths, tuple(compositions), self._packs.current)
        sampled = []
        for sequence in plan.rows:
            sequence.num_computed += 1
            sampled.append((sequence, sequence.sampler.choose(logits[sequence.lane], sequence.seen)))
        elapsed_ms = 1e3 * (time.perf_counter() - started)
        for sequence in plan.rows:
            sequence.decode_ms += elapsed_ms
        return sampled

    def _commit(self, sequence: Sequence, token: int) -> bool:
        """Append a token; True, and the lane freed, if the sequence ends with it."""
        sequence.token_ids.append(token)
        if token in self._graph.eos_token_ids:
            sequence.finish_reason = "stop"
        else:
            sequence.text.append(token)
            is_full = sequence.num_computed >= self._lanes.capacity
            if sequence.text.is_stopped:
                sequence.finish_reason = "stop"
            elif len(sequence.token_ids) >= sequence.sampler.params.max_tokens or is_full:
                sequence.finish_reason = "length"
        if sequence.is_finished:
            self.remove(sequence)
        return sequence.is_finished

    def _compact(self) -> None:
        """Move the last lanes down onto free ones, so that a decode run has no idle rows."""
        while gap := self._scheduler.gap():
            target, source = gap
            sequence = self._scheduler.lanes[source]
            assert sequence is not None
            if not self._lanes.move(source, target, sequence.num_computed):
                return
            self._scheduler.move(source, target)

    def _numbers(self, composition: Composition) -> list[int]:
        return [self._adapters.attached[name].number for name in composition]
