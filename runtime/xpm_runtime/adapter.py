"""A compiled adapter (``slots.safetensors``) in memory, checked against the base it is for."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from xpm_runtime.errors import AdapterMismatchError
from xpm_runtime.graph import GraphSpec

FORMAT = "xpm-slots-1"
SLOTS = "slots.safetensors"
MAX_RANK = 256
MAX_SOFT_TOKENS = 1024
DEFAULT_LOAD_ORDER = 5
_SLOT = re.compile(r"slots\.(\d+\.\w+)\.([AB])")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """Where an adapter is and under which name it is attached. ``load_order`` (1..10) orders it in compositions."""

    name: str
    path: Path
    load_order: int = DEFAULT_LOAD_ORDER

    @classmethod
    def read(cls, name: str, path: Path, *, load_order: int = DEFAULT_LOAD_ORDER) -> "AdapterSpec":
        """``path`` is a ``slots.safetensors`` or the folder that holds one."""
        return cls(name=name, path=path / SLOTS if path.is_dir() else path, load_order=load_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter's arrays, in the graph's dtype.

    ``a`` and ``b`` map a linear's name to (rank, in) and (rank, out); ``scales`` is (total_out,) of output-scale deltas or None;
    ``soft_embeds`` is (num_soft, hidden), num_soft being 0 if there are none.
    """

    spec: AdapterSpec
    rank: int
    a: dict[str, NDArray[Any]]
    b: dict[str, NDArray[Any]]
    scales: NDArray[Any] | None
    soft_embeds: NDArray[Any]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def num_soft(self) -> int:
        return int(self.soft_embeds.shape[0])

    @property
    def num_bytes(self) -> int:
        arrays = [*self.a.values(), *self.b.values(), self.soft_embeds]
        return sum(array.nbytes for array in arrays) + (0 if self.scales is None else self.scales.nbytes)


def load_adapter(spec: AdapterSpec, graph: GraphSpec) -> Adapter:
    """Read and check a compiled adapter.

    Raises:
        AdapterMismatchError: it is for another base, or holds a tensor of an unknown name, a wrong shape or type, or a value
            that is not finite.
    """
    tensors, metadata = _read(spec)
    if metadata.get("format") != FORMAT:
        raise AdapterMismatchError(
            f"{spec.path} is not a compiled adapter", hint=f"it must have format {FORMAT}: build it anew"
        )
    if metadata.get("base_digest") != graph.base_digest:
        raise AdapterMismatchError(
            f"{spec.name} was made for another base",
            context=f"it needs {metadata.get('base_digest')}, loaded is {graph.base_digest}",
            hint="install the variant of the expert that is for this base",
        )
    rank = _parse_rank(metadata.get("rank", ""), spec)
    linears = {linear.name: linear for linear in graph.linears}
    a: dict[str, NDArray[Any]] = {}
    b: dict[str, NDArray[Any]] = {}
    scales: NDArray[Any] | None = None
    soft_embeds: NDArray[Any] = np.zeros((0, graph.hidden_size), graph.dtype)
    for name, tensor in tensors.items():
        match = _SLOT.fullmatch(name)
        if match and match[1] in linears:
            linear = linears[match[1]]
            size = linear.num_in if match[2] == "A" else linear.num_out
            (a if match[2] == "A" else b)[linear.name] = _checked(spec, name, tensor, (rank, size), graph.dtype)
        elif name == "scales":
            scales = _checked(spec, name, tensor, (1, graph.total_out), graph.dtype)[0]
        elif name == "soft_embeds":
            num_soft = min(tensor.shape[0], MAX_SOFT_TOKENS) if tensor.ndim == 2 else MAX_SOFT_TOKENS
            soft_embeds = _checked(spec, name, tensor, (num_soft, graph.hidden_size), graph.dtype)
        else:
            raise AdapterMismatchError(f"{spec.name}: the base has no slot for tensor {name[:120]!r}")
    if a.keys() != b.keys():
        raise AdapterMismatchError(f"{spec.name}: {min(a.keys() ^ b.keys())} has only one of A and B")
    return Adapter(spec=spec, rank=rank, a=a, b=b, scales=scales, soft_embeds=soft_embeds)


def _read(spec: AdapterSpec) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    try:
        with safe_open(spec.path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise AdapterMismatchError(
            f"{spec.name} has no compiled adapter", context=f"{spec.path} does not exist"
        ) from error
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise AdapterMismatchError(f"{spec.path} is not a safetensors file", context=str(error)[:200]) from error


def _parse_rank(text: str, spec: AdapterSpec) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_RANK:
        raise AdapterMismatchError(f"{spec.name}: rank {text[:20]!r} is not 0..{MAX_RANK}")
    return int(text)


def _checked(spec: AdapterSpec, name: str, tensor: NDArray[Any], shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    if tensor.shape != shape:
        raise AdapterMismatchError(f"{spec.name}: {name} has shape {tensor.shape}, the base needs {shape}")
    if tensor.dtype not in (np.float32, np.float16):
        raise AdapterMismatchError(f"{spec.name}: {name} holds {tensor.dtype}, not float32 or float16")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(tensor, dtype)
    if not np.isfinite(result).all():
        raise AdapterMismatchError(f"{spec.name}: {name} has values that are not finite numbers in {dtype}")
    return result
