"""Which adapters are packed for the graph, kept from step to step while it serves."""

from collections.abc import Iterable

from xpm_runtime.cuda import CudaSlots
from xpm_runtime.graph import GraphSpec
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.slots import AddressedSlots, Composition, PackedSlots, SlotPack, combine_scales


class Packs:
    """``current`` is the pack that was last needed."""

    def __init__(self, graph: GraphSpec, adapters: ResidentAdapters, *, is_native: bool, is_cuda: bool = False) -> None:
        self._graph = graph
        self._adapters = adapters
        self._is_native = is_native
        self._is_cuda = is_cuda
        self.current = self._new(())
        self._sound: set[Composition] = set()

    def check(self, composition: Composition) -> None:
        """Raise EngineError if adapters of a composition can't be loaded any more, or can't act together."""
        if composition in self._sound and self.current.adapters.keys() >= set(composition):
            return  # packed already: what was dropped from memory since need not come back for it
        adapters = self._adapters.need(composition)
        combine_scales(self._graph, list(adapters.values()))
        self._sound.add(composition)

    def reset(self) -> None:
        """Let go of what is packed: an adapter was detached."""
        self._sound.clear()
        self.current = self._new(())

    def serve(self, names: Iterable[str]) -> SlotPack:
        """The present pack if it holds these adapters, else a new one.

        A portable graph computes the ranks of all that are packed, so it must not hold more than twice what is needed; a
        native one only follows addresses, and gets all that are in memory.
        """
        needed = dict.fromkeys(names)
        rank = sum(self._adapters.attached[name].rank for name in needed)
        holds = needed.keys() <= self.current.adapters.keys()
        if not (holds and (self._is_native or self.current.rank <= 2 * rank)):
            self.current = self._new(needed)
        return self.current

    def soft_ids(self, composition: Composition) -> list[int]:
        """Ids of the composition's virtual tokens in the current pack, in load order."""
        ids: list[int] = []
        for name in composition:
            first = self._graph.vocab_size + self.current.soft_offset(name)
            ids += range(first, first + self._adapters.attached[name].num_soft)
        return ids

    def _new(self, names: Iterable[str]) -> SlotPack:
        adapters = self._adapters.need(names)
        if self._is_native:
            return AddressedSlots(self._graph, list((adapters | self._adapters.loaded).values()))
        if self._is_cuda:
            return CudaSlots(self._graph, list(adapters.values()))
        return PackedSlots(self._graph, list(adapters.values()))
