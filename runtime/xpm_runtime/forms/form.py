"""What a form is: a kind of graph of a base, with its way of running.

A form decides which file is loaded, how adapters are kept and packed for it, how its cache is kept and how it is run.
Engine, stepper and scheduler know this interface alone; a new kind of graph is a new subclass and a line in ``FORMS``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence as Items
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter, AdapterSpec, load_adapter
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes, Lanes
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.sampler import require_finite
from xpm_runtime.session import Session
from xpm_runtime.slots import Acting, ScaledAdapter, SlotPack

Logits = NDArray[np.float32]
LanesT = TypeVar("LanesT", bound=Lanes)


class RowLogits:
    """Logits of the rows of a run, float32 (rows, vocab), valid until the next run."""

    def __init__(self, values: Logits) -> None:
        self._values = values

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._values[row]
        return values

    def greedy(self, row: int) -> int:
        """The likeliest token, the first of equals; raises EngineError if the row has a NaN
        or an infinity above all."""
        token = int(np.argmax(self._values[row]))
        require_finite(self._values[row, token])
        return token


class Runner(ABC):
    """Runs planned work on the graph."""

    @abstractmethod
    def prefill(
        self,
        ids: Items[int],
        *,
        lane: int,
        start: int,
        pack: SlotPack,
        acting: Acting,
        every: bool = False,
        rope: RopeScaling | None = None,
    ) -> Logits:
        """Run prompt tokens through one lane.

        Args:
            ids: the chunk's token ids; ids from ``vocab_size`` on are rows of the pack's ``soft_embeds``.
            start: tokens already in the lane.
            every: whether to return logits of every position instead of the last.
            rope: how positions are scaled, as the base does it if None.
        Returns:
            float32 (1 or len(ids), vocab).
        """

    @abstractmethod
    def decode(
        self,
        tokens: Items[int],
        lengths: Items[int],
        rows: tuple[Acting, ...],
        pack: SlotPack,
        rope: RopeScaling | None = None,
    ) -> RowLogits:
        """Run one token of each lane ``0 : len(tokens)``.

        Args:
            tokens: the token each lane adds; lanes without a sequence pass 0 of length 0 and are not looked at.
            lengths: tokens already in each lane.
            rows: what acts on each lane.
            rope: how the positions of all of them are scaled, as the base does it if None.
        Returns:
            one row for each token.
        """


class Form(ABC, Generic[LanesT]):
    """``name`` is what ``kernels=`` calls it; ``file`` the graph's in the base's folder; ``devices``
    those that it is meant for."""

    name: ClassVar[str]
    file: ClassVar[str]
    devices: ClassVar[tuple[str, ...]]
    scales_positions: ClassVar[bool] = True
    """Whether positions can be scaled for each request."""
    packs_cache: ClassVar[bool] = False
    """Whether a request may keep its cache in fewer bits, or of the last tokens alone."""
    max_rank: ClassVar[int | None] = None
    """The most that the ranks of all adapters of a run may come to, at least what one request may ask for."""

    def __init__(self, graph: GraphSpec) -> None:
        self.graph = graph

    @classmethod
    @abstractmethod
    def obstacle(cls, folder: Path, device: str) -> str:
        """Why the base in ``folder`` can't be run in this form on a device; "" if it can."""

    def open(self, folder: Path, *, device: str, threads: int | None, spinning: bool) -> Session:
        return Session(folder, self.file, device=device, threads=threads, spinning=spinning)

    @abstractmethod
    def lanes(self, session: Session, *, num_lanes: int, capacity: int) -> LanesT: ...

    @abstractmethod
    def runner(self, session: Session, lanes: LanesT) -> Runner: ...

    def load(self, spec: AdapterSpec) -> Adapter:
        """Read and check an adapter; see ``load_adapter``."""
        return load_adapter(spec, self.graph)

    @abstractmethod
    def pack(self, needed: Mapping[ScaledAdapter, Adapter], loaded: Mapping[str, Adapter]) -> SlotPack:
        """A pack of the needed adapters, and of any others that are in memory if that costs nothing."""

    def still_serves(self, pack: SlotPack, rank: int) -> bool:
        """Whether a pack that holds all that is needed may serve a run that needs ``rank`` of it.

        Where the ranks of all that are packed are computed, it must not hold more than twice that.
        """
        return pack.rank <= 2 * rank

    def bytes_of_weights(self, stored: int) -> int:
        """Memory that weights take of which ``stored`` bytes lie in the file."""
        return (
            stored * 3 // 2
        )  # ONNX Runtime packs them anew into memory of its own, and keeps the mapped ones while it does


class KvForm(Form[KvLanes]):
    """A form whose cache is changed in place, in lanes of a fixed capacity."""

    def lanes(self, session: Session, *, num_lanes: int, capacity: int) -> KvLanes:
        return KvLanes(session, self.graph, num_lanes=num_lanes, capacity=capacity)
