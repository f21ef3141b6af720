"""Kernels of our own for quantised bases on CPUs with AVX-512 VNNI (docs/adr/0007), compiled when the package is built.

Where the library is absent or the processor lacks what it needs, the graph of ONNX Runtime's own operators is used instead.
"""

import ctypes
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).with_name("libxpm_kernels.so")


@cache
def _loaded() -> ctypes.CDLL | None:
    try:
        loaded = ctypes.CDLL(str(_LIBRARY))
        is_supported = bool(loaded.xpm_is_supported())
        loaded.xpm_allow.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
        loaded.xpm_forbid.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None
    return loaded if is_supported else None


def library() -> Path | None:
    """The compiled operators, for ``register_custom_ops_library``; None if they can't be used here."""
    return _LIBRARY if _loaded() is not None else None


class AllowedMemory:
    """Lets the kernels follow addresses into a range of memory for as long as this object lives.

    Whoever owns the memory owns this too, and drops it first.
    """

    def __init__(self, address: int, size: int, *, is_writable: bool = False) -> None:
        self._address = 0
        loaded = _loaded()
        if loaded is not None and size and loaded.xpm_allow(address, size, is_writable):
            self._address = address

    def __del__(self) -> None:
        loaded = _loaded()
        if loaded is not None and self._address:
            loaded.xpm_forbid(self._address)
