"""Kernels of our own for quantised bases on CPUs (docs/explanation/adr/0007), compiled when the package is built.

Each family of processors has its own, and the best that a processor has is used. Where the library is absent, is
another version's, or has none for the processor but the slow generic ones, the graph of ONNX Runtime's own
operators is used instead.
"""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LIBRARY = Path(__file__).with_name("libxpm_kernels.so")
_VERSION = 3  # of what Python and the library expect of each other: ``xpm_version`` in operators.c
_GENERIC = "generic"


@cache
def _loaded() -> ctypes.CDLL | None:
    try:
        loaded = ctypes.CDLL(str(_LIBRARY))
        loaded.xpm_kernels.restype = ctypes.c_char_p
        loaded.xpm_use_kernels.argtypes = [ctypes.c_char_p]
        loaded.xpm_allow.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
        loaded.xpm_forbid.argtypes = [ctypes.c_size_t]
        loaded.xpm_describe.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
        return loaded if loaded.xpm_version() == _VERSION else None
    except (OSError, AttributeError):
        return None


def library() -> Path | None:
    """The compiled operators, for ``register_custom_ops_library``; None if there are none that are fast here."""
    return _LIBRARY if family() not in ("", _GENERIC) else None


def is_compiled() -> bool:
    """Whether there is a library, of whatever version."""
    return _LIBRARY.is_file()


def family() -> str:
    """The family of kernels in use, e.g. "avx2"; "" if there is no library that fits."""
    loaded = _loaded()
    return "" if loaded is None else str(loaded.xpm_kernels().decode())


def use_family(name: str) -> bool:
    """Use another family from now on, for comparisons; False if this library or processor has it not."""
    loaded = _loaded()
    return loaded is not None and bool(loaded.xpm_use_kernels(name.encode()))


class AllowedMemory:
    """Lets the kernels follow addresses into a range of memory for as long as this object lives.

    Whoever owns the memory owns this too, and drops it first.
    """

    def __init__(self, address: int, size: int, *, is_writable: bool = False) -> None:
        self._address = 0
        loaded = _loaded()
        if loaded is not None and size and loaded.xpm_allow(address, size, is_writable):
            self._address = address

    def describe_rows(self, layouts: NDArray[np.int32], row_bytes: int) -> None:
        """Say how each row of a cache in this memory is kept; read at each run.

        Args:
            layouts: int32 (rows, 4): bits of keys and of values, window, sinks.
        """
        loaded = _loaded()
        if loaded is not None and self._address:
            self._layouts = layouts
            loaded.xpm_describe(self._address, layouts.ctypes.data, row_bytes)

    def __del__(self) -> None:
        loaded = _loaded()
        if loaded is not None and self._address:
            loaded.xpm_forbid(self._address)
