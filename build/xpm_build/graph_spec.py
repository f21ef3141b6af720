"""``graph.json``: what an exported graph's runner must know (docs/formats/graph.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xpm_build.errors import BuildError

FORMAT = "xpm-slot-graph-1"
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SUPPORTED = ("qwen3",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One slot: a linear of the base, named ``{layer}.{module}``."""

    name: str
    num_in: int
    num_out: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a base, read from its Hugging Face configuration."""

    config: Any

    def __post_init__(self) -> None:
        kind = getattr(self.config, "model_type", None)
        if kind not in SUPPORTED:
            raise BuildError(f"bases of type {kind!r} are not supported", hint=f"supported: {', '.join(SUPPORTED)}")
        if getattr(self.config, "attention_bias", False):
            raise BuildError("bases with attention biases are not supported")
        if getattr(self.config, "use_sliding_window", False):
            raise BuildError("bases with sliding-window attention are not supported")

    @property
    def num_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def query_size(self) -> int:
        return int(self.config.num_attention_heads * self.config.head_dim)

    @property
    def key_size(self) -> int:
        return int(self.config.num_key_value_heads * self.config.head_dim)

    def linears(self) -> Iterator[Linear]:
        """All slots in graph order; the columns of ``scales`` are their outputs in this order."""
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        sizes = {
            "q_proj": (hidden, self.query_size),
            "k_proj": (hidden, self.key_size),
            "v_proj": (hidden, self.key_size),
            "o_proj": (self.query_size, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }
        for layer in range(self.num_layers):
            for module in MODULES:
                yield Linear(name=f"{layer}.{module}", num_in=sizes[module][0], num_out=sizes[module][1])

    @property
    def total_out(self) -> int:
        return sum(linear.num_out for linear in self.linears())


def graph_document(shape: Shape, *, base_digest: str, variant: str, dtype: str = "float32") -> dict[str, Any]:
    """The content of graph.json."""
    config = shape.config
    eos = config.eos_token_id
    return {
        "format": FORMAT,
        "architecture": config.model_type,
        "base_digest": base_digest,
        "variant": variant,
        "dtype": dtype,
        "num_layers": shape.num_layers,
        "num_heads": config.num_attention_heads,
        "num_kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rope": {"theta": float(config.rope_theta), "scaling": config.rope_scaling},
        "eos_token_ids": eos if isinstance(eos, list) else [eos] if eos is not None else [],
        "pad_token_id": config.pad_token_id,
        "linears": [{"name": each.name, "in": each.num_in, "out": each.num_out} for each in shape.linears()],
    }
