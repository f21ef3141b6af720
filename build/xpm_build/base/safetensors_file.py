"""Where the tensors of a safetensors file lie, and their numbers as float32, those of types that numpy lacks too."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

BFLOAT16 = "BF16"
_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor in a file, by the header's own name for its type."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def is_float(self) -> bool:
        """Whether it is of a type that ``read`` knows."""
        return self.dtype in _STORED

    def read(self) -> NDArray[np.float32]:
        """Its numbers; what is too large for 32 bits is infinite. Raises KeyError if it is not of floats."""
        stored = np.fromfile(self.file, _STORED[self.dtype], math.prod(self.shape), offset=self.offset)
        if self.dtype == BFLOAT16:
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        elif self.dtype == "F8_E5M2":
            stored = (stored.astype(np.uint16) << 8).view(np.float16)
        elif self.dtype == "F8_E4M3":
            stored = _E4M3[stored]
        with np.errstate(over="ignore"):
            return stored.reshape(self.shape).astype(np.float32, copy=False)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """By name. The library, which can't give bfloat16 to numpy, checks that they lie where the header says.

    Raises:
        OSError, SafetensorError: it is no such file.
    """
    with safe_open(path, framework="np"), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: StoredTensor(
            file=path, dtype=entry["dtype"], shape=tuple(entry["shape"]), offset=8 + length + entry["data_offsets"][0]
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _e4m3() -> NDArray[np.float32]:
    """The values of the 256 floats of 8 bits, 4 of them the exponent: none is infinite, all
    bits but the sign are NaN."""
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, codes & 7
    magnitude = np.where(exponent > 0, np.ldexp(1 + fraction / 8, exponent - 7), np.ldexp(fraction / 8, -6))
    magnitude[codes & 127 == 127] = np.nan
    return np.where(codes < 128, magnitude, -magnitude).astype(np.float32)


_E4M3 = _e4m3()
