"""Which adapters are packed for the graph, kept from step to step while it serves."""

from collections.abc import Iterable
from typing import Any

from xpm_runtime.forms.form import Form
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.slots import Acting, ScaledAdapter, SlotPack, check_product, combine_scales

_MAX_SOUND = 4096


class Packs:
    """``current`` is the pack that was last needed."""

    def __init__(self, form: Form[Any], adapters: ResidentAdapters) -> None:
        self._form = form
        self._graph = form.graph
        self._adapters = adapters
        self.current = self._new(())
        self._sound: set[Acting] = set()

    def check(self, acting: Acting) -> None:
        """Raise EngineError if adapters that shall act on a row can't be loaded any more, or can't act together."""
        if acting in self._sound and self.current.holds(acting):
            return  # packed already: what was dropped from memory since need not come back for it
        adapters = self._adapters.need(name for name, _ in acting)
        combine_scales(self._graph, [(adapters[name], scale) for name, scale in acting])
        for name, scale in acting:
            check_product(self._graph, adapters[name], scale)
        if len(self._sound) >= _MAX_SOUND:
            self._sound.clear()
        self._sound.add(acting)

    def reset(self) -> None:
        """Let go of what is packed: an adapter was detached."""
        self._sound.clear()
        self.current = self._new(())

    def serve(self, scaled_adapters: Iterable[ScaledAdapter]) -> SlotPack:
        """The present pack if these can act in it and the form may go on with it, else a new one."""
        needed = dict.fromkeys(scaled_adapters)
        rank = sum(self._adapters.attached[name].rank for name, _ in needed)
        if not (self.current.holds(needed) and self._form.still_serves(self.current, rank)):
            self.current = self._new(needed)
        return self.current

    def fit(self, rows: Iterable[Acting]) -> list[bool]:
        """Of rows, the most important first, which can run together: the ranks of what acts on them
        are bounded in some forms."""
        if self._form.max_rank is None:
            return [True for _ in rows]
        packed: set[ScaledAdapter] = set()
        rank, fits = 0, []
        for acting in rows:
            new = set(acting) - packed
            more = sum(self._adapters.attached[name].rank for name, _ in new)
            fits.append(rank + more <= self._form.max_rank)
            if fits[-1]:
                packed |= new
                rank += more
        return fits

    def soft_ids(self, acting: Acting) -> list[int]:
        """Ids of the virtual tokens of what acts on a row in the current pack, in load order."""
        ids: list[int] = []
        for name, _ in acting:
            first = self._graph.vocab_size + self.current.soft_offset(name)
            ids += range(first, first + self._adapters.attached[name].num_soft)
        return ids

    def _new(self, scaled_adapters: Iterable[ScaledAdapter]) -> SlotPack:
        scaled_adapters = tuple(scaled_adapters)
        needed = self._adapters.need(name for name, _ in scaled_adapters)
        return self._form.pack(
            {scaled_adapter: needed[scaled_adapter[0]] for scaled_adapter in scaled_adapters}, self._adapters.loaded
        )
