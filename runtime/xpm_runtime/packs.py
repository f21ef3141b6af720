"""Which adapters are packed for the graph, kept from step to step while it serves."""

from collections.abc import Iterable
from typing import Any

from xpm_runtime.forms.form import Form
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.slots import Composition, SlotPack, combine_scales


class Packs:
    """``current`` is the pack that was last needed."""

    def __init__(self, form: Form[Any], adapters: ResidentAdapters) -> None:
        self._form = form
        self._graph = form.graph
        self._adapters = adapters
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
        """The present pack if it holds these adapters and the form may go on with it, else a new one."""
        needed = dict.fromkeys(names)
        rank = sum(self._adapters.attached[name].rank for name in needed)
        holds = needed.keys() <= self.current.adapters.keys()
        if not (holds and self._form.still_serves(self.current, rank)):
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
        needed = self._adapters.need(names)
        return self._form.pack(needed, self._adapters.loaded)
