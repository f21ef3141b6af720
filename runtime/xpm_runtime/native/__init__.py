"""Kernels of our own for quantised bases on CPUs with AVX-512 VNNI (docs/adr/0006), compiled when the package is built.

Where the library is absent or the processor lacks what it needs, the graph of ONNX Runtime's own operators is used instead.
"""

import ctypes
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).with_name("libxpm_kernels.so")


@cache
def library() -> Path | None:
    """The compiled operators, for ``register_custom_ops_library``; None if they can't be used here."""
    try:
        is_supported = bool(ctypes.CDLL(str(_LIBRARY)).xpm_is_supported())
    except (OSError, AttributeError):
        return None
    return _LIBRARY if is_supported else None
