"""What an exported base says of its graph (``graph.json``, docs/reference/formats/graph.md)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_runtime.errors import ModelLoadError
from xpm_runtime.rope_scaling import positions_before_scaling

FORMAT = "xpm-slot-graph-2"
GROUPS = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "attended": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
"""The linears of a layer by their input: group → modules, in the order of the graph's slots."""
GRAPH_FILE = "graph.json"
PORTABLE_GRAPH = "model.onnx"
NATIVE_GRAPH = "native.onnx"
WEIGHTS = "model.onnx_data"
EXPORTED_FORM = "exported"
EXPORTED_GRAPH = "exported.onnx"
CUDA_FILES = {"base": "cuda.onnx", "slots": "cuda_slots.onnx", "scaled": "cuda_scaled.onnx"}
GRAPHS = (PORTABLE_GRAPH, NATIVE_GRAPH, EXPORTED_GRAPH, *CUDA_FILES.values())
"""Every graph that a base may have; all are over the same weights."""
_OLD_FORMAT = "xpm-slot-graph-1"  # rows are told apart by multiplying with 0 and 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One slot, named ``{layer}.{module}``; sizes are features. ``only_scales``: nothing of low rank acts there."""

    name: str
    num_in: int
    num_out: int
    only_scales: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTensor:
    """One tensor of the cache of an exported graph: (1, num_heads, tokens, size), an input and, with
    what a run adds, an output."""

    past: str
    present: str
    num_heads: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedGraph:
    """What the runtime must know of a graph that was not written but traced: its inputs but
    for the cache and the slots."""

    inputs: frozenset[str]
    cache: tuple[CacheTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """A graph's dimensions. ``dtype`` is that of its float inputs, its KV cache and its logits.

    ``native_kv_dtype`` is the cache's in the graph for our own kernels, None if there is no such graph.
    ``has_offsets``: whether the base has biases, to which adapters that scale outputs add. ``selects_rows``: ranks
    that don't act on a row are left out of it; in the older format they are multiplied by zero. ``exported`` is None
    for a graph that xpm wrote.
    """

    base_digest: str
    variant: str
    dtype: str
    num_layers: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    max_positions: int
    rope_theta: float
    rope_scaling: dict[str, Any] | None
    eos_token_ids: tuple[int, ...]
    linears: tuple[Linear, ...]
    native_kv_dtype: str | None = None
    has_offsets: bool = False
    selects_rows: bool = True
    exported: ExportedGraph | None = None

    @property
    def trained_positions(self) -> int:
        """How many positions the base was trained on, before what its own configuration scales."""
        return positions_before_scaling(self.max_positions, self.rope_scaling)

    @property
    def total_out(self) -> int:
        return sum(linear.num_out for linear in self.linears)

    @classmethod
    def read(cls, folder: Path) -> "GraphSpec":
        """Read ``graph.json``; raises ModelLoadError naming what is absent or wrong."""
        path = folder / GRAPH_FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] not in (FORMAT, _OLD_FORMAT):
                raise ModelLoadError(f"{path} has format {raw['format']!r}"[:200], hint=f"this runtime reads {FORMAT}")
            if raw["dtype"] not in ("float32", "float16"):
                raise ModelLoadError(f"{path}: dtype {raw['dtype']!r} is unknown"[:200])
            exported = _exported(raw) if raw.get("form") == EXPORTED_FORM else None
            rope: dict[str, Any] = (
                raw["rope"] if exported is None else {"theta": 0}
            )  # an exported graph turns positions itself
            scaling = rope.get("scaling")
            return cls(
                base_digest=raw["base_digest"],
                variant=raw["variant"],
                dtype=raw["dtype"],
                num_layers=_count(raw, "num_layers"),
                num_kv_heads=_count(raw, "num_kv_heads"),
                head_dim=_count(raw, "head_dim"),
                hidden_size=_count(raw, "hidden_size"),
                vocab_size=_count(raw, "vocab_size"),
                max_positions=_count(raw, "max_position_embeddings"),
                rope_theta=float(rope["theta"]),
                rope_scaling=None if scaling is None else {**scaling},
                eos_token_ids=tuple(_whole(each, "eos_token_ids", least=0) for each in raw["eos_token_ids"]),
                linears=tuple(
                    Linear(
                        name=str(x["name"]),
                        num_in=_count(x, "in"),
                        num_out=_count(x, "out"),
                        only_scales=bool(x.get("only_scales", False)),
                    )
                    for x in raw["linears"]
                ),
                native_kv_dtype=raw.get("native_kv_dtype"),
                has_offsets=bool(raw.get("has_offsets", False)),
                selects_rows=raw["format"] == FORMAT,
                exported=exported,
            )
        except FileNotFoundError as error:
            raise ModelLoadError(f"{folder} is not an exported base", context="it has no graph.json") from error
        except OSError as error:
            raise ModelLoadError(f"{path} could not be read", context=str(error)[:200]) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ModelLoadError(f"{path} is malformed", context=f"{type(error).__name__}: {error}"[:200]) from error


def stored_weights(folder: Path) -> int:
    """Bytes of the weights that a base's graphs share, 0 if they hold their own."""
    data = folder / WEIGHTS
    return data.stat().st_size if data.is_file() else 0


def _exported(raw: dict[str, Any]) -> ExportedGraph:
    cache = tuple(
        CacheTensor(
            past=str(each["past"]),
            present=str(each["present"]),
            num_heads=_count(each, "heads"),
            size=_count(each, "size"),
        )
        for each in raw["cache"]
    )
    return ExportedGraph(inputs=frozenset(map(str, raw["inputs"])), cache=cache)


def _count(raw: dict[str, Any], key: str) -> int:
    return _whole(raw[key], key, least=1)


def _whole(value: Any, key: str, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{key} must be a whole number from {least}, not {value!r}")
    return value
