"""The layers of a decoder compiled by PyTorch, so that what stands between two products is one loop.

On a processor an adapter's training spends most of its time between products: casts, norms, scalings, sums,
each of which goes through memory by itself. The layers of a decoder are alike, so that one of them is
compiled, for rows of any length.
"""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any


def compiler() -> str | None:
    """The C++ compiler that PyTorch uses on a processor; None if there is none. On CUDA it
    compiles with Triton instead."""
    import torch

    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        return "triton" if has_triton() else None
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return shutil.which(get_cpp_compiler())
    except Exception:  # the error of a missing compiler has had several names
        return None


def compile_layers(model: Any) -> None:
    """Have the decoder layers of a PEFT model compiled when they are first run."""
    for layer in model.get_base_model().get_decoder().layers:
        layer.compile(dynamic=True)


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Compiled layers run as they are written: for generation, whose every token has another shape."""
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield
