"""Which bases can be exported, and their dimensions: dense decoders with RMSNorm, RoPE, grouped queries and SwiGLU."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xpm_build.errors import BuildError
from xpm_runtime.errors import EngineError
from xpm_runtime.graph import FORMAT, GROUPS
from xpm_runtime.rope import rope_frequencies, rope_type

SUPPORTED = ("qwen3", "qwen2", "llama")
_ROPE_KEYS = {  # what the runtime reads of a scaling
    "*": {"type", "rope_type", "factor", "original_max_position_embeddings", "rope_theta"},
    "default": set(),
    "linear": set(),
    "dynamic": set(),
    "llama3": {"low_freq_factor", "high_freq_factor"},
    "yarn": {"beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One slot: a linear of the base, named ``{layer}.{module}``; ``path`` is where Hugging Face's model has it.

    ``is_transposed``: its weight there is (in, out). ``is_input``: it is no linear but what goes into one, which
    adapters can only scale: nothing of low rank acts there.
    """

    name: str
    num_in: int
    num_out: int
    path: str
    has_bias: bool = False
    is_transposed: bool = False
    is_input: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As graph.json lists it."""
        entry: dict[str, Any] = {"name": self.name, "in": self.num_in, "out": self.num_out}
        return entry | {"only_scales": True} if self.is_input else entry


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearGroup:
    """Linears of one layer over one input, computed as one product. ``first`` is the first
    one's number in the graph."""

    name: str
    first: int
    linears: tuple[Linear, ...]

    @property
    def num_in(self) -> int:
        return self.linears[0].num_in

    @property
    def num_out(self) -> int:
        return sum(linear.num_out for linear in self.linears)

    @property
    def has_bias(self) -> bool:
        return any(linear.has_bias for linear in self.linears)


_HOMES = {"qkv": "self_attn", "attended": "self_attn", "gate_up": "mlp", "down": "mlp"}  # in a Hugging Face layer
_GROUPS = tuple((name, modules, _HOMES[name]) for name, modules in GROUPS.items())
MODULES = tuple(module for _, modules, _ in _GROUPS for module in modules)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The dimensions of a base, read from its Hugging Face configuration; raises BuildError
    for what is not supported."""

    config: Any

    def __post_init__(self) -> None:
        config = self.config
        kind = getattr(config, "model_type", None)
        if kind not in SUPPORTED:
            raise BuildError(
                f"bases of type {kind!r} are not supported",
                hint=f"written are {', '.join(SUPPORTED)}; `xpm build base` exports others through Optimum",
            )
        if config.hidden_act != "silu":
            raise BuildError(f"the activation {config.hidden_act!r} is not supported", hint="only silu is")
        if getattr(config, "use_sliding_window", False):
            raise BuildError("bases with sliding-window attention are not supported")
        if getattr(config, "partial_rotary_factor", 1.0) not in (None, 1.0):
            raise BuildError("bases that rotate only a part of each head are not supported")
        if self.head_dim % 16 or self.num_heads % self.num_kv_heads:
            raise BuildError(
                f"{self.num_heads} heads of {self.head_dim} dimensions over {self.num_kv_heads} are not supported",
                hint="dimensions must be a multiple of 16, and query heads one of key heads",
            )
        self._check_rope()

    def _check_rope(self) -> None:
        """Raise BuildError if the runtime can't turn positions as the configuration says."""
        config = self.config
        if getattr(config, "rope_parameters", None):
            raise BuildError(
                "config.json states RoPE as rope_parameters, which the installed Transformers does not read",
                hint="write its rope_theta as a key of its own, and the others as rope_scaling",
            )
        if not isinstance(config.rope_scaling or {}, dict):
            raise BuildError("rope_scaling must be an object")
        if not config.rope_scaling:
            return
        try:
            rope_frequencies(head_dim=self.head_dim, theta=config.rope_theta, scaling=self.rope_scaling)
        except EngineError as error:
            raise BuildError(error.message, context=error.context, hint=error.hint) from error
        known = _ROPE_KEYS["*"] | _ROPE_KEYS[rope_type(config.rope_scaling)]
        for key, value in config.rope_scaling.items():
            if key not in known and value is not None:
                raise BuildError(f"rope_scaling has {key[:40]!r}, whose meaning is not known")
            if isinstance(value, str) and key not in ("type", "rope_type"):
                raise BuildError(f"{key} of rope_scaling is {value[:40]!r}, not a number")

    @property
    def rope_scaling(self) -> dict[str, Any] | None:
        """As the runtime takes it: with the positions that yarn stretches, which are the base's own if not stated."""
        scaling = self.config.rope_scaling
        if not scaling or rope_type(scaling) != "yarn":
            return dict(scaling) if scaling else None
        original = scaling.get("original_max_position_embeddings") or self.config.max_position_embeddings
        return dict(scaling) | {"original_max_position_embeddings": original}

    @property
    def num_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def hidden_size(self) -> int:
        return int(self.config.hidden_size)

    @property
    def vocab_size(self) -> int:
        return int(self.config.vocab_size)

    @property
    def num_heads(self) -> int:
        return int(self.config.num_attention_heads)

    @property
    def num_kv_heads(self) -> int:
        return int(self.config.num_key_value_heads)

    @property
    def head_dim(self) -> int:
        return int(getattr(self.config, "head_dim", None) or self.hidden_size // self.num_heads)

    @property
    def epsilon(self) -> float:
        return float(self.config.rms_norm_eps)

    @property
    def has_qk_norm(self) -> bool:
        return bool(self.config.model_type == "qwen3")

    @property
    def is_tied(self) -> bool:
        return bool(self.config.tie_word_embeddings)

    @property
    def has_bias(self) -> bool:
        return any(linear.has_bias for linear in self.linears())

    def groups(self, layer: int) -> tuple[LinearGroup, ...]:
        """The layer's linears by input: q, k, v; o; gate, up; down."""
        query, key = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        hidden, inner = self.hidden_size, int(self.config.intermediate_size)
        sizes = {
            "q_proj": (hidden, query),
            "k_proj": (hidden, key),
            "v_proj": (hidden, key),
            "o_proj": (query, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }
        groups = []
        first = layer * len(MODULES)
        for name, modules, home in _GROUPS:
            linears = tuple(
                Linear(
                    name=f"{layer}.{m}",
                    num_in=sizes[m][0],
                    num_out=sizes[m][1],
                    path=f"model.layers.{layer}.{home}.{m}",
                    has_bias=self._biased(m),
                )
                for m in modules
            )
            groups.append(LinearGroup(name=f"{layer}.{name}", first=first, linears=linears))
            first += len(linears)
        return tuple(groups)

    def linears(self) -> Iterator[Linear]:
        """All slots in graph order; the columns of ``scales`` are their outputs in this order."""
        for layer in range(self.num_layers):
            for group in self.groups(layer):
                yield from group.linears

    @property
    def total_out(self) -> int:
        return sum(linear.num_out for linear in self.linears())

    def _biased(self, module: str) -> bool:
        if self.config.model_type == "qwen2":
            return module in ("q_proj", "k_proj", "v_proj")
        option = "attention_bias" if module in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp_bias"
        return bool(getattr(self.config, option, False))

    def graph_document(
        self, *, base_digest: str, variant: str, dtype: str, native_kv: bool, eos_token_ids: Sequence[int]
    ) -> dict[str, Any]:
        """The content of graph.json (docs/reference/formats/graph.md). ``native_kv``:
        whether there is a native graph."""
        config = self.config
        document = {
            "format": FORMAT,
            "architecture": config.model_type,
            "base_digest": base_digest,
            "variant": variant,
            "dtype": dtype,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_size": self.hidden_size,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "rope": {"theta": float(config.rope_theta), "scaling": self.rope_scaling},
            "eos_token_ids": list(eos_token_ids),
            "pad_token_id": config.pad_token_id,
            "linears": [each.to_dict() for each in self.linears()],
        }
        if self.has_bias:
            document["has_offsets"] = True
        if native_kv:
            document["native_kv_dtype"] = "float16"
        return document


def tensor_name(linear: Linear, part: str = "weight") -> str:
    """The name of a linear's tensor in a Hugging Face checkpoint."""
    return f"{linear.path}.{part}"


def obstacle_to_writing(config: Any) -> str:
    """Why the graph of such a model can't be written; "" if it can."""
    try:
        Architecture(config)
    except BuildError as error:
        return error.message
    return ""
