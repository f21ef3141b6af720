"""The parts of a GGUF file: metadata by key, and tensors as they are stored, mapped and not read.

The `gguf` library knows the number formats; its reader, which makes an array of every string, takes seconds for a
vocabulary, and trusts what the file says of its own sizes.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.errors import BuildError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32
_MAX_DIMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """``shape`` is (rows, columns), or what there is, slowest first; ``offset`` in bytes from the file's beginning."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int


class GgufFile:
    """What a file holds. Tensors' bytes stay in the file, which must not change while they are in use."""

    def __init__(self, path: Path) -> None:
        """Raises BuildError if the file can't be read, or is not a whole GGUF file."""
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, GgufTensor] = {}
        try:
            self._map = np.memmap(path, np.uint8, mode="r")
            self._view = self._map.data  # small pieces come out of it faster
            self._place = 0
            self._read()
        except (OSError, ValueError, struct.error, OverflowError) as error:
            raise BuildError(
                f"{path} is not a GGUF file that can be read",
                context=str(error)[:200],
                hint="fetch it again; what is shorter than it should be was cut off",
            ) from error

    def stored(self, tensor: GgufTensor, num_bytes: int) -> NDArray[np.uint8]:
        """The bytes of a tensor; raises BuildError if the file ends before."""
        if tensor.offset + num_bytes > len(self._map):
            raise BuildError(
                f"{self.path} ends within {tensor.name}",
                context=f"{tensor.offset + num_bytes} bytes are needed, it has {len(self._map)}",
                hint="fetch it again",
            )
        return self._map[tensor.offset : tensor.offset + num_bytes]

    def _read(self) -> None:
        if self._bytes(4) != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = self._number("I")
        if version not in _VERSIONS:
            raise ValueError(f"its version is {version}, known are {_VERSIONS}")
        num_tensors, num_pairs = self._number("Q"), self._number("Q")
        for _ in range(num_pairs):
            key = self._text()
            self.metadata[key] = self._value(self._number("I"))
        found = [self._tensor() for _ in range(num_tensors)]
        alignment = self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"general.alignment is {alignment!r}")
        start = math.ceil(self._place / alignment) * alignment
        for name, kind, shape, offset in found:
            self.tensors[name] = GgufTensor(name=name, kind=kind, shape=shape, offset=start + offset)

    def _tensor(self) -> tuple[str, int, tuple[int, ...], int]:
        name, num_dims = self._text(), self._number("I")
        if num_dims > _MAX_DIMS:
            raise ValueError(f"tensor {name[:80]} has {num_dims} dimensions")
        dims = tuple(self._number("Q") for _ in range(num_dims))
        return name, self._number("I"), dims[::-1], self._number("Q")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_scalar(kind))
        inner, count = self._number("I"), self._number("Q")
        if inner in (_STRING, _ARRAY):
            return list(self._several(lambda: self._value(inner), count))
        letter = _scalar(inner)
        return list(struct.unpack(f"<{count}{letter}", self._bytes(count * struct.calcsize(f"<{letter}"))))

    def _several(self, read: Callable[[], Any], count: int) -> Iterator[Any]:
        for _ in range(count):  # a count that is too large ends at the file's end
            yield read()

    def _text(self) -> str:
        return self._bytes(self._number("Q")).decode("utf-8")

    def _number(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self._bytes(struct.calcsize(f"<{letter}")))[0]

    def _bytes(self, count: int) -> bytes:
        end = self._place + count
        if end > len(self._map):
            raise ValueError(f"it ends after {len(self._map)} bytes, in the middle of its metadata")
        self._place, start = end, self._place
        return bytes(self._view[start:end])


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"metadata of the unknown type {kind}")
    return _SCALARS[kind]
