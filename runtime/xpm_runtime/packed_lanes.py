"""Lanes whose sequences may each keep their cache in fewer bits, or of fewer tokens: for our own
kernels, which read both.

A packed lane lies in the same memory as a plain one. What a head takes begins with the numbers of its tokens, then come
their scales, and the rest is never touched: as a lane's memory is virtual until it is written, it is as if it were
smaller. What has left a window is given back page by page.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.cache_settings import CacheSettings
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.session import Session

TRIMMED_TOKENS = 256  # that have left a window are given back together
_BEYOND_WINDOW = 2 * TRIMMED_TOKENS  # that a lane may hold: some are not given back yet, and a chunk is being read
_SCALE_BYTES = 2
_PLAIN = CacheSettings()


class PackedLanes(KvLanes):
    """Lanes in float16 buffers of which each is kept as ``configure`` says."""

    def __init__(self, session: Session, graph: GraphSpec, *, num_lanes: int, capacity: int, dtype: str) -> None:
        super().__init__(session, graph, num_lanes=num_lanes, capacity=capacity, dtype=dtype, has_present=False)
        self._dim = graph.head_dim
        self._settings = [_PLAIN] * num_lanes
        self._dropped = [0] * num_lanes
        self._layouts = np.zeros((num_lanes, 4), np.int32)  # read by the kernels at each run
        for lane in range(num_lanes):
            self.configure(lane, None)
        for layer in self._layers:
            layer.buffer.describe_rows(self._layouts)

    def configure(self, lane: int, settings: CacheSettings | None) -> None:
        kept = settings or _PLAIN
        self._settings[lane], self._dropped[lane] = kept, 0
        self._layouts[lane] = *kept.bits, kept.window or 0, kept.sinks or 0

    def bytes_of(self, settings: CacheSettings | None, num_tokens: int) -> int:
        kept = settings or _PLAIN
        if kept.span is not None:
            num_tokens = min(num_tokens, kept.span + _BEYOND_WINDOW)
        if kept.kind == "float":
            return num_tokens * self.bytes_per_token
        num_heads = self._layers[0].buffer.shape[1]
        return num_tokens * num_heads * sum(self._row_bytes(bits) + _SCALE_BYTES for bits in self._bits(kept))

    def num_dropped(self, lane: int) -> int:
        return self._dropped[lane]

    def trim(self, lane: int, length: int) -> None:
        kept = self._settings[lane]
        if kept.window is None:
            return
        first, last = max(self._dropped[lane], kept.sinks or 0), length - kept.window
        if last - first < TRIMMED_TOKENS:
            return
        size = self.capacity * self._dim * 2
        for layer, bits in zip(self._layers, self._bits(kept), strict=True):
            for part in self._of_head(bits, first, last):
                for head in range(layer.buffer.shape[1]):
                    layer.buffer.release_part(lane, head * size + part.start, head * size + part.stop)
        self._dropped[lane] = last

    def read(self, lane: int, first: int, last: int) -> list[NDArray[Any]]:
        if self._settings[lane].kind == "float":
            return super().read(lane, first, last)
        return [
            np.concatenate([heads[:, part] for part in self._of_head(bits, first, last)], axis=1)
            for heads, bits in self._heads(lane)
        ]

    def write(self, lane: int, first: int, block: list[NDArray[Any]]) -> None:
        if self._settings[lane].kind == "float":
            super().write(lane, first, block)
            return
        for (heads, bits), part in zip(self._heads(lane), block, strict=True):
            row = self._row_bytes(bits)
            count = part.shape[1] // (row + _SCALE_BYTES)
            numbers, scales = self._of_head(bits, first, first + count)
            heads[:, numbers], heads[:, scales] = part[:, : count * row], part[:, count * row :]

    def copy(self, source: int, target: int, length: int) -> bool:
        kept, dropped = self._settings[source], self._dropped[source]
        self.configure(target, kept)
        self._dropped[target] = dropped
        runs = ((0, kept.sinks or 0), (dropped, length)) if dropped else ((0, length),)
        for (before, bits), (after, _) in zip(self._heads(source), self._heads(target), strict=True):
            for first, last in runs:
                for part in self._of_head(bits, first, last):
                    after[:, part] = before[:, part]
        return True

    def release(self, lane: int, length: int) -> None:
        dropped = self._dropped[lane]
        super().release(lane, length)
        if dropped:  # what is left of it lies wherever its window was
            for layer in self._layers:
                layer.buffer.release_row(lane)
        self.configure(lane, None)

    def _bits(self, kept: CacheSettings) -> list[int]:
        """Of the numbers of each tensor of the cache: keys and values take turns."""
        return [*kept.bits] * (len(self._layers) // 2)

    def _row_bytes(self, bits: int) -> int:
        """Of the numbers of a token in a head; in 4 bits 16 bytes hold 32."""
        return -(-self._dim // 32) * 16 if bits == 4 else self._dim * bits // 8

    def _of_head(self, bits: int, first: int, last: int) -> list[slice]:
        """Which bytes of what a head takes hold the tokens ``first : last``."""
        row = self._row_bytes(bits)
        numbers = slice(first * row, last * row)
        if bits == 16:
            return [numbers]
        scales = self.capacity * row
        return [numbers, slice(scales + first * _SCALE_BYTES, scales + last * _SCALE_BYTES)]

    def _heads(self, lane: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """What each tensor of the cache holds of a lane, (kv_heads, bytes), and the bits of its numbers."""
        for array, bits in zip(self._arrays(), self._bits(self._settings[lane]), strict=True):
            yield array[lane].reshape(array.shape[1], -1).view(np.uint8), bits
