"""Keys and values of prompts' beginnings, kept in blocks of 16 tokens so that the same beginning is not computed twice.

A block is found by a hash over everything before it: the adapters that act, by digest where they have one, from
where on, and all tokens up to its end. So nothing is ever reused between different compositions, and the same
package finds its blocks again.
"""

import hashlib
import itertools
from collections import OrderedDict, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.lanes import Lanes

BLOCK_TOKENS = 16
Later = tuple[int, tuple[str, ...]]
_Block = list[NDArray[np.generic]]


class PrefixCache:
    """Blocks copied out of lanes and into them; the least recently used are forgotten beyond ``budget`` bytes."""

    def __init__(self, lanes: Lanes, *, budget: int) -> None:
        self._lanes = lanes
        self._budget = budget if lanes.can_copy else 0
        self._blocks: OrderedDict[bytes, _Block] = OrderedDict()
        self._block_bytes = lanes.bytes_per_token * BLOCK_TOKENS  # the most that one takes
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def restore(self, lane: int, acting: Sequence[str], ids: Sequence[int], later: Sequence[Later] = ()) -> int:
        """Fill a lane with what is known of a prompt's beginning; the number of tokens filled,
        fewer than the prompt has.

        Args:
            acting: keys of the adapters that act, in order: an expert's digest, or what no other attachment has.
            later: (from which token on, the keys of those that act from there), in order, where that
                changes within the prompt.
        """
        known = list(
            itertools.takewhile(self._blocks.__contains__, self._keys(acting, ids[:-1], later))
        )  # the last gives logits
        for number, key in enumerate(known):
            self._lanes.write(lane, number * BLOCK_TOKENS, self._blocks[key])
        self._touch(known)
        return len(known) * BLOCK_TOKENS

    def keep(self, lane: int, acting: Sequence[str], ids: Sequence[int], later: Sequence[Later] = ()) -> None:
        """Remember the whole blocks of a prompt that a lane holds, as many of the first as the budget allows."""
        keys = self._keys(acting, ids, later)[: self._budget // self._block_bytes]
        for number, key in enumerate(keys):
            if key not in self._blocks:
                first = number * BLOCK_TOKENS
                self._blocks[key] = self._lanes.read(lane, first, first + BLOCK_TOKENS)
                self._num_bytes += _bytes_of(self._blocks[key])
        self._touch(keys)
        while self._num_bytes > self._budget:
            _, forgotten = self._blocks.popitem(last=False)
            self._num_bytes -= _bytes_of(forgotten)

    def _touch(self, keys: Sequence[bytes]) -> None:
        """These were used: the first of them last, because without it the others can't be reached."""
        for key in reversed(keys):
            self._blocks.move_to_end(key)

    def clear(self) -> None:
        self._blocks.clear()
        self._num_bytes = 0

    def _keys(self, acting: Sequence[str], ids: Sequence[int], later: Sequence[Later]) -> list[bytes]:
        """One hash per whole block, each over the one before."""
        if self._budget == 0:
            return []
        digest = hashlib.blake2b(repr(tuple(acting)).encode(), digest_size=16)
        keys = []
        tokens = np.asarray(ids, np.int64)
        changes = deque(later)
        for first in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            while changes and changes[0][0] < first + BLOCK_TOKENS:
                digest.update(repr(changes.popleft()).encode())
            digest.update(tokens[first : first + BLOCK_TOKENS].tobytes())
            keys.append(digest.digest())
        return keys


def _bytes_of(block: _Block) -> int:
    return sum(part.nbytes for part in block)
