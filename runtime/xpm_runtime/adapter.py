"""A compiled adapter (``slots.safetensors``) in memory, checked against the base it is for."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from xpm_runtime.adapter_rank import RankProfile, cut, errors_by_rank
from xpm_runtime.errors import AdapterMismatchError
from xpm_runtime.grammar import Grammar
from xpm_runtime.graph import GraphSpec
from xpm_runtime.native import AllowedMemory

FORMAT = "xpm-slots-1"
ACTIVATED_FORMAT = "xpm-slots-2"  # whoever does not know what invokes an adapter must not let it act everywhere
SLOTS = "slots.safetensors"
MAX_RANK = 256
MAX_MAGNITUDE = 1e9  # products of two such and of activations stay finite in float32
MAX_SOFT_TOKENS = 1024
MAX_INVOCATION_TOKENS = 64
DEFAULT_LOAD_ORDER = 5
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I8": np.dtype("i1")}
_SLOT = re.compile(r"slots\.(.+)\.([AB])")


Identity = tuple[int, ...]
Invocation = tuple[int, ...]
GrammarOf = Callable[[str], Grammar | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """Where an adapter is and under which name it is attached. ``load_order`` (1..10) orders it in compositions.

    ``digest``: of the package that it is from, if whoever attaches it vouches for that: prefixes computed with it
    are found again after it was detached. ``grammar`` gives that of an answer to a prompt's text, where a request
    brings none; None for none.
    ``max_rank`` is what its rank is cut to (``xpm_runtime.adapter_rank``) if it is higher, None for no bound.
    """

    name: str
    path: Path
    load_order: int = DEFAULT_LOAD_ORDER
    digest: str = ""
    grammar: GrammarOf | None = field(default=None, repr=False, compare=False)
    max_rank: int | None = None

    @classmethod
    def read(
        cls,
        name: str,
        path: Path,
        *,
        load_order: int = DEFAULT_LOAD_ORDER,
        digest: str = "",
        grammar: GrammarOf | None = None,
        max_rank: int | None = None,
    ) -> "AdapterSpec":
        """``path`` is a ``slots.safetensors`` or the folder that holds one."""
        slots = path / SLOTS if path.is_dir() else path
        return cls(name=name, path=slots, load_order=load_order, digest=digest, grammar=grammar, max_rank=max_rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter's arrays, in the graph's dtype, or as they are stored (``is_half``: in float16) for native kernels.

    ``a`` and ``b`` map a linear's name to (rank, in) and (rank, out); ``scales`` is (total_out,) of
    output-scale deltas or None, ``offsets`` (total_out,) of what is added to outputs or None; ``soft_embeds``
    is (num_soft, hidden), num_soft being 0 if there are none. ``addresses`` (linears, 2) is where A and B of
    each linear lie, 0 where there is none;
    ``allowed`` lets native kernels read there. ``invocation`` are the tokens from whose last place in a prompt on it
    acts, () if it acts everywhere.
    """

    spec: AdapterSpec
    rank: int
    a: dict[str, NDArray[Any]]
    b: dict[str, NDArray[Any]]
    scales: NDArray[Any] | None
    offsets: NDArray[Any] | None
    soft_embeds: NDArray[Any]
    identity: Identity
    allowed: tuple[AllowedMemory, ...]
    addresses: NDArray[np.int64]
    invocation: Invocation = ()

    @property
    def is_half(self) -> bool:
        return any(array.dtype == np.float16 for array in self.a.values())

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def num_soft(self) -> int:
        return int(self.soft_embeds.shape[0])

    @property
    def num_bytes(self) -> int:
        extra = [array for array in (self.scales, self.offsets) if array is not None]
        return sum(array.nbytes for array in [*self.a.values(), *self.b.values(), self.soft_embeds, *extra])


def profile_of(adapter: Adapter) -> RankProfile:
    """What an adapter takes, and what cutting its rank loses. One that scales outputs can't be cut: its scales are
    those of the whole update (DoRA)."""
    if adapter.scales is not None or not adapter.rank:
        return RankProfile(name=adapter.name, fixed_bytes=adapter.num_bytes, bytes_per_rank=0, errors=(0.0,))
    ranked = sum(array.nbytes for array in (*adapter.a.values(), *adapter.b.values()))
    return RankProfile(
        name=adapter.name,
        fixed_bytes=adapter.num_bytes - ranked,
        bytes_per_rank=ranked // adapter.rank,
        errors=errors_by_rank(adapter.a, adapter.b),
    )


def identity_of(path: Path) -> Identity:
    """What changes when a file is replaced: device, inode, size, time of change; empty if it is not there."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def load_adapter(spec: AdapterSpec, graph: GraphSpec, *, is_addressed: bool = False) -> Adapter:
    """Read and check a compiled adapter.

    Args:
        is_addressed: keep A and B as they are stored, float32 or float16, for kernels that read them there; else they
            are given the graph's dtype.
    Raises:
        AdapterMismatchError: it is for another base, or holds a tensor of an unknown name, a wrong shape or type, or a
            value that is not finite.
    """
    identity = identity_of(spec.path)
    tensors, metadata = _read(spec)
    if metadata.get("format") not in (FORMAT, ACTIVATED_FORMAT):
        raise AdapterMismatchError(
            f"{spec.path} is not a compiled adapter", hint=f"it must have format {FORMAT}: build it anew"
        )
    if metadata.get("base_digest") != graph.base_digest:
        raise AdapterMismatchError(
            f"{spec.name} was made for another base",
            context=f"it needs {metadata.get('base_digest')}, loaded is {graph.base_digest}",
            hint="install the variant of the expert that is for this base",
        )
    invocation = _parse_invocation(metadata.get("invocation_tokens", "[]"), spec, graph.vocab_size)
    rank = _parse_rank(metadata.get("rank", ""), spec)
    _widen_integers(tensors, spec, np.float16 if is_addressed else graph.dtype)
    linears = {linear.name: linear for linear in graph.linears if not linear.only_scales}
    a: dict[str, NDArray[Any]] = {}
    b: dict[str, NDArray[Any]] = {}
    vectors: dict[str, NDArray[Any]] = {}
    slots = {name: tensor for name, tensor in tensors.items() if name.startswith("slots.")}
    keeps = is_addressed and len({tensor.dtype for tensor in slots.values()}) == 1
    soft_embeds: NDArray[Any] = np.zeros((0, graph.hidden_size), graph.dtype)
    for name, tensor in tensors.items():
        match = _SLOT.fullmatch(name)
        if match and match[1] in linears:
            linear = linears[match[1]]
            size = linear.num_in if match[2] == "A" else linear.num_out
            (a if match[2] == "A" else b)[linear.name] = _checked(
                spec, name, tensor, (rank, size), tensor.dtype if keeps else graph.dtype
            )
        elif name == "scales" or (name == "offsets" and graph.has_offsets):
            vectors[name] = _checked(spec, name, tensor, (1, graph.total_out), np.float32)[0]
        elif name == "soft_embeds":
            num_soft = min(tensor.shape[0], MAX_SOFT_TOKENS) if tensor.ndim == 2 else MAX_SOFT_TOKENS
            soft_embeds = _checked(spec, name, tensor, (num_soft, graph.hidden_size), graph.dtype)
        else:
            raise AdapterMismatchError(f"{spec.name}: the base has no slot for tensor {name[:120]!r}")
    if invocation and len(soft_embeds):
        raise AdapterMismatchError(f"{spec.name} has virtual tokens, which act everywhere, and invocation_tokens")
    if a.keys() != b.keys():
        raise AdapterMismatchError(f"{spec.name}: {min(a.keys() ^ b.keys())} has only one of A and B")
    if spec.max_rank is not None and spec.max_rank < rank and "scales" not in vectors:
        rank = spec.max_rank
        a, b = cut(a, b, rank)
    addresses = np.array([[_address(part, linear) for part in (a, b)] for linear in linears], np.int64)
    return Adapter(
        addresses=addresses,
        identity=identity,
        allowed=_allow([*a.values(), *b.values()]) if is_addressed else (),
        spec=spec,
        rank=rank,
        a=a,
        b=b,
        scales=vectors.get("scales"),
        offsets=vectors.get("offsets"),
        soft_embeds=soft_embeds,
        invocation=invocation,
    )


def _allow(arrays: list[NDArray[Any]]) -> tuple[AllowedMemory, ...]:
    """Let the kernels read arrays: the whole of a file once, arrays of their own each."""
    owners = {}
    for array in arrays:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        owners[owner.__array_interface__["data"][0]] = owner.nbytes
    return tuple(AllowedMemory(address, size) for address, size in owners.items())


def _address(part: dict[str, NDArray[Any]], linear: str) -> int:
    array = part.get(linear)
    return 0 if array is None else int(array.__array_interface__["data"][0])


def _read(spec: AdapterSpec) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The file's tensors and its metadata. The library checks the header, offsets and sizes.

    The file is read, not mapped: what happens to it later reaches nobody, where a mapped file that is
    cut short kills the process.
    """
    try:
        with safe_open(spec.path, framework="numpy") as file:
            metadata = file.metadata() or {}
        data: NDArray[np.uint8] = np.fromfile(spec.path, np.uint8)
        length = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + length].tobytes())
        tensors: dict[str, NDArray[Any]] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in _DTYPES:
                raise AdapterMismatchError(f"{spec.name}: {name[:120]} holds {entry['dtype']}, not F32, F16 or I8")
            first, last = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = data[first:last].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        return tensors, metadata
    except FileNotFoundError as error:
        raise AdapterMismatchError(
            f"{spec.name} has no compiled adapter", context=f"{spec.path} does not exist"
        ) from error
    except (SafetensorError, OSError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise AdapterMismatchError(f"{spec.path} is not a safetensors file", context=str(error)[:200]) from error


def _widen_integers(tensors: dict[str, NDArray[Any]], spec: AdapterSpec, dtype: Any) -> None:
    """Replace 8-bit A and B, and their scales per rank, by what they stand for."""
    for name in [name for name, tensor in tensors.items() if tensor.dtype == np.int8]:
        scale = tensors.pop(f"{name}.scale", None)
        if scale is None or scale.dtype != np.float32 or scale.shape != tensors[name].shape[:1]:
            raise AdapterMismatchError(f"{spec.name}: {name[:120]} holds I8 without a scale for each rank")
        with np.errstate(over="ignore"):
            tensors[name] = (tensors[name] * scale[:, None]).astype(dtype)


def _parse_rank(text: str, spec: AdapterSpec) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_RANK)) or int(text) > MAX_RANK:
        raise AdapterMismatchError(f"{spec.name}: rank {text[:20]!r} is not 0..{MAX_RANK}")
    return int(text)


def _parse_invocation(text: str, spec: AdapterSpec, vocab_size: int) -> Invocation:
    try:
        ids = json.loads(text[: 16 * MAX_INVOCATION_TOKENS])
    except ValueError:
        ids = None
    is_list = isinstance(ids, list) and len(ids) <= MAX_INVOCATION_TOKENS
    if not is_list or not all(type(each) is int and 0 <= each < vocab_size for each in ids):
        raise AdapterMismatchError(
            f"{spec.name}: invocation_tokens {text[:40]!r} are not up to {MAX_INVOCATION_TOKENS} tokens of the base"
        )
    return tuple(ids)


def _checked(spec: AdapterSpec, name: str, tensor: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    if tensor.shape != shape:
        raise AdapterMismatchError(f"{spec.name}: {name} has shape {tensor.shape}, the base needs {shape}")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(tensor, dtype)
    largest = _largest(result)
    if not np.isfinite(largest):
        raise AdapterMismatchError(f"{spec.name}: {name} has values that are not finite numbers in {np.dtype(dtype)}")
    if largest > MAX_MAGNITUDE:
        raise AdapterMismatchError(
            f"{spec.name}: {name} has values beyond {MAX_MAGNITUDE:.0e}",
            hint="no training ends there: build the expert anew",
        )
    return result


def _largest(array: NDArray[Any]) -> float:
    """The largest magnitude, not finite if anything is not; by the bits, ten times as fast as
    asking numpy about float16."""
    if array.size == 0:
        return 0.0
    is_half = array.dtype == np.float16
    bits: NDArray[Any] = array.view(np.uint16 if is_half else np.uint32)
    largest = (bits & bits.dtype.type(0x7FFF if is_half else 0x7FFFFFFF)).max()
    return float(np.array(largest, bits.dtype).view(array.dtype))
