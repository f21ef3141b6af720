"""The attached adapters: all known by name, as many of them in memory as a budget of bytes allows, the
least used dropped first.

A file that was attached lately is checked already: attaching it again takes a lookup.
"""

from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xpm_runtime.adapter import Adapter, AdapterSpec, Identity, Invocation, identity_of, profile_of
from xpm_runtime.adapter_rank import RankProfile
from xpm_runtime.errors import AdapterMismatchError, CapacityError, RequestError
from xpm_runtime.forms.form import Form

_MAX_RECENT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedAdapter:
    """What stays known of an adapter while it is not in memory.

    ``key``: what its cached prefixes are found by, the package's digest or a number that is never given twice.
    ``identity``: that of the file that was attached.
    """

    spec: AdapterSpec
    key: str
    identity: Identity
    rank: int
    num_soft: int
    num_bytes: int
    invocation: Invocation = ()


class ResidentAdapters:
    """Attached adapters by name. An adapter that was dropped is loaded again when it is next needed.

    Invariant: what is in memory, attached or attached lately, is within the budget, unless one request needs more.
    """

    def __init__(self, form: Form[Any], *, budget: int | None) -> None:
        self.attached: dict[str, AttachedAdapter] = {}
        self.num_loads = 0
        self._form = form
        self._budget = budget
        self._loaded: OrderedDict[str, Adapter] = OrderedDict()  # the least recently used first
        self._recent: OrderedDict[Identity, Adapter] = OrderedDict()  # detached

    @property
    def num_bytes(self) -> int:
        return sum(adapter.num_bytes for adapter in [*self._loaded.values(), *self._recent.values()])

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of those in memory, the least recently used first."""
        return tuple(self._loaded)

    @property
    def loaded(self) -> dict[str, Adapter]:
        return dict(self._loaded)

    def attach(self, spec: AdapterSpec) -> AttachedAdapter:
        """Load and check an adapter; raises RequestError if its name is taken, CapacityError if it
        alone exceeds the budget."""
        if spec.name in self.attached:
            raise RequestError(f"an expert named {spec.name} is attached already", hint="detach it first")
        adapter = self._load(spec)
        if self._budget is not None and adapter.num_bytes > self._budget:
            raise CapacityError(
                f"{spec.name} needs {adapter.num_bytes / 1e6:.1f} MB, the budget for experts is "
                f"{self._budget / 1e6:.1f} MB",
                hint="raise the memory budget",
            )
        known = AttachedAdapter(
            spec=spec,
            key=spec.digest + (f"~{adapter.rank}" if spec.max_rank is not None else "")
            if spec.digest
            else f"#{self.num_loads}",
            identity=adapter.identity,
            rank=adapter.rank,
            num_soft=adapter.num_soft,
            num_bytes=adapter.num_bytes,
            invocation=adapter.invocation,
        )
        self.attached[spec.name] = known
        self._loaded[spec.name] = adapter
        self._trim(needed={spec.name})
        return known

    def profile(self, spec: AdapterSpec) -> RankProfile:
        """What an adapter takes, and what cutting its rank loses; it is not kept."""
        return profile_of(self._form.load(spec))

    def detach(self, name: str) -> None:
        del self.attached[name]
        adapter = self._loaded.pop(name, None)
        if adapter is not None:
            self._recent[adapter.identity] = adapter
            while len(self._recent) > _MAX_RECENT:
                self._recent.popitem(last=False)
        self._trim(needed=())

    def need(self, names: Iterable[str]) -> dict[str, Adapter]:
        """The adapters of a run, loaded if they were dropped; others may be dropped for them."""
        wanted = dict.fromkeys(names)
        for name in wanted:
            if name not in self._loaded:
                self._loaded[name] = self._load_again(name)
            self._loaded.move_to_end(name)
        self._trim(needed=wanted)
        return {name: self._loaded[name] for name in wanted}

    def prefetch(self, names: Sequence[str]) -> None:
        """Load the first of ``names`` that fit into the budget together."""
        for count in range(len(names), 0, -1):
            if self._budget is None or sum(self.attached[name].num_bytes for name in names[:count]) <= self._budget:
                self.need(names[:count])
                return

    def clear(self) -> None:
        self.attached.clear()
        self._loaded.clear()
        self._recent.clear()

    def _load(self, spec: AdapterSpec) -> Adapter:
        self.num_loads += 1
        recent = self._recent.pop(identity_of(spec.path), None)
        if recent is not None and recent.spec.max_rank == spec.max_rank:
            return replace(recent, spec=spec)
        return self._form.load(spec)

    def _load_again(self, name: str) -> Adapter:
        known = self.attached[name]
        if identity_of(known.spec.path) != known.identity:
            raise AdapterMismatchError(
                f"{known.spec.path} was replaced while {name} was attached", hint="detach it and attach it anew"
            )
        return self._load(known.spec)

    def _trim(self, *, needed: Container[str]) -> None:
        if self._budget is None:
            return
        while self._recent and self.num_bytes > self._budget:
            self._recent.popitem(last=False)
        for name in [name for name in self._loaded if name not in needed]:
            if self.num_bytes <= self._budget:
                return
            del self._loaded[name]
