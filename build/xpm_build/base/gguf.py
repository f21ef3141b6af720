"""A GGUF file as a checkpoint: the configuration, weights and text files that a Hugging Face
folder of the same model has."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.checkpoint import Checkpoint
from xpm_build.base.configuration import CONFIG, Configuration
from xpm_build.base.gguf_blocks import BLOCK_KINDS, FLOAT_KINDS, floats
from xpm_build.base.gguf_file import GgufFile, GgufTensor
from xpm_build.base.gguf_tokenizer import end_tokens, tokenizer_files
from xpm_build.base.quantize import QuantizedMatrix
from xpm_build.base.text_files import GENERATION_CONFIG
from xpm_build.errors import BuildError
from xpm_runtime.rope import rope_frequencies

SUFFIX = ".gguf"
_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_PERMUTED = "llama"  # whose heads GGUF keeps in pairs of neighbours, where Transformers keeps two halves
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_FACTORS = "rope_freqs.weight"
_NOT_WEIGHTS = ("rope_freqs", "attn_rot_embd")


class GgufCheckpoint(Checkpoint):
    """A model in one GGUF file."""

    def __init__(self, path: Path) -> None:
        """Raises BuildError if the file can't be read, or holds a model of a kind that is not supported."""
        self._file = GgufFile(path)
        self._names = {name: tensor for tensor in self._file.tensors.values() if (name := _name(tensor.name, path))}
        self.stated = _configuration(self._file, self._names)
        self.configuration = Configuration.of(self.stated)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        tensor = self._names[name]
        if tensor.kind in FLOAT_KINDS:
            values = floats(tensor.kind, self._stored(tensor)).reshape(tensor.shape)
        elif (blocks := self._blocks(tensor)) is not None:
            values = blocks.dequantized()
        else:
            raise BuildError(
                f"{tensor.name} is stored as GGUF's type {tensor.kind}, which is not read here",
                hint="read are F32, F16, BF16, " + ", ".join(kind.name for kind in BLOCK_KINDS.values()),
            )
        return values if (order := self._order(name)) is None else values[order]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._names[name].shape

    def quantized(self, name: str) -> QuantizedMatrix | None:
        blocks = self._blocks(self._names[name])
        order = self._order(name)
        return blocks if blocks is None or order is None else blocks.taken(order)

    @property
    def kinds(self) -> dict[str, int]:
        """How many tensors of how many dimensions but one are stored in which blocks, the commonest first."""
        names = [BLOCK_KINDS[each.kind].name for each in self._names.values() if each.kind in BLOCK_KINDS]
        return {name: names.count(name) for name in sorted(set(names), key=lambda name: (-names.count(name), name))}

    def write_text_files(self, out: Path) -> None:
        texts = tokenizer_files(self._file.metadata)
        texts[CONFIG] = json.dumps(self.stated, indent=2) + "\n"
        ends = end_tokens(self._file.metadata)
        texts[GENERATION_CONFIG] = json.dumps({"eos_token_id": ends}, indent=2) + "\n"
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")

    def _blocks(self, tensor: GgufTensor) -> QuantizedMatrix | None:
        kind = BLOCK_KINDS.get(tensor.kind)
        if kind is None or len(tensor.shape) != 2:
            return None
        rows, columns = tensor.shape
        if columns % kind.weights:
            raise BuildError(f"{tensor.name} has rows of {columns}, which are not whole blocks of {kind.weights}")
        return kind.matrix(self._stored(tensor), (rows, columns))

    def _stored(self, tensor: GgufTensor) -> NDArray[np.uint8]:
        count = math.prod(tensor.shape)
        if tensor.kind in FLOAT_KINDS:
            return self._file.stored(tensor, count * FLOAT_KINDS[tensor.kind])
        kind = BLOCK_KINDS[tensor.kind]
        return self._file.stored(tensor, count // kind.weights * kind.num_bytes)

    def _order(self, name: str) -> NDArray[np.integer] | None:
        """In which order rows of queries and keys of the llama family are taken."""
        if self.configuration.model_type != _PERMUTED or ".self_attn." not in name:
            return None
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads is None:
            return None
        rows = np.arange(self.shape(name)[0])
        return rows.reshape(getattr(self.configuration, heads), -1, 2).swapaxes(1, 2).reshape(-1)


def _name(stored: str, path: Path) -> str:
    """What Transformers calls a tensor, "" for one that holds no weights; raises BuildError
    for one that nobody knows."""
    if any(part in stored for part in _NOT_WEIGHTS):
        return ""
    parts = stored.split(".")
    if len(parts) == 2 and parts[0] in _OUTSIDE and parts[1] == "weight":
        return f"{_OUTSIDE[parts[0]]}.weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _IN_LAYER and parts[3] in ("weight", "bias"):
        return f"model.layers.{parts[1]}.{_IN_LAYER[parts[2]]}.{parts[3]}"
    raise BuildError(
        f"{path} has a tensor {stored[:80]!r}, which has no place in a base",
        context="the model is of another make than its metadata say, or of one that is not supported",
    )


def _configuration(file: GgufFile, names: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """The content of config.json; raises BuildError for what is not supported."""
    metadata = file.metadata
    kind = metadata.get("general.architecture")
    if kind not in _ARCHITECTURES:
        raise BuildError(
            f"GGUF files of the architecture {str(kind)[:40]!r} are not supported",
            hint=f"supported: {', '.join(_ARCHITECTURES)}",
        )

    def number(key: str, default: Any = None) -> Any:
        value = metadata.get(f"{kind}.{key}", default)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BuildError(f"{file.path}: {kind}.{key} is {str(value)[:80]}, a number is needed")
        return value

    if "model.embed_tokens.weight" not in names:
        raise BuildError(f"{file.path} has no token_embd.weight")
    if number("expert_count", 0):
        raise BuildError("bases of several experts in a layer (mixtures) are not supported")
    heads, hidden = number("attention.head_count"), number("embedding_length")
    head_dim = number("attention.key_length", hidden // heads)
    if number("attention.value_length", head_dim) != head_dim or number("rope.dimension_count", head_dim) != head_dim:
        raise BuildError("bases whose keys are turned in part, or are of another size than values, are not supported")
    theta = float(number("rope.freq_base", 10000.0))
    stated: dict[str, Any] = {
        "model_type": kind,
        "architectures": [
            {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[kind]
        ],
        "hidden_act": "silu",
        "hidden_size": hidden,
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "intermediate_size": number("feed_forward_length"),
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": _shortest(number("attention.layer_norm_rms_epsilon")),
        "rope_theta": theta,
        "rope_scaling": _rope_scaling(file, kind, theta, head_dim),
        "vocab_size": names["model.embed_tokens.weight"].shape[0],
        "tie_word_embeddings": "lm_head.weight" not in names,
        "attention_bias": kind != "qwen2" and "model.layers.0.self_attn.q_proj.bias" in names,
        "mlp_bias": "model.layers.0.mlp.gate_proj.bias" in names,
        "torch_dtype": "float32",
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        stated[f"{name}_token_id"] = metadata.get(f"tokenizer.ggml.{key}_token_id")
    return stated


def _rope_scaling(file: GgufFile, kind: str, theta: float, head_dim: int) -> dict[str, Any] | None:
    metadata, prefix = file.metadata, f"{kind}.rope"
    named = metadata.get(f"{prefix}.scaling.type")
    factor = metadata.get(f"{prefix}.scaling.factor", metadata.get(f"{prefix}.scale_linear", 1.0))
    if _FACTORS in file.tensors:
        return _by_parts(file, theta, head_dim, int(metadata.get(f"{prefix}.scaling.original_context_length", 8192)))
    if named in (None, "none", "linear"):
        return {"rope_type": "linear", "factor": float(factor)} if factor not in (0.0, 1.0) else None
    if named != "yarn":
        raise BuildError(f"{file.path}: RoPE scaled by {named!r} is not supported", hint="linear and yarn are")
    scaling: dict[str, Any] = {"rope_type": "yarn", "factor": float(factor)}
    if original := metadata.get(f"{prefix}.scaling.original_context_length"):
        scaling["original_max_position_embeddings"] = original
    for name, key in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if (value := metadata.get(f"{prefix}.scaling.{key}")) is not None:
            scaling[name] = value
    return scaling


def _by_parts(file: GgufFile, theta: float, head_dim: int, original: int) -> dict[str, Any]:
    """Llama 3's scaling, of which a file states only what each frequency is divided by."""
    tensor = file.tensors[_FACTORS]
    divisors = file.stored(tensor, 4 * math.prod(tensor.shape)).view(np.float32)
    scaling = {
        "rope_type": "llama3",
        "factor": float(divisors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }
    plain, _ = rope_frequencies(head_dim=head_dim, theta=theta, scaling=None)
    scaled, _ = rope_frequencies(head_dim=head_dim, theta=theta, scaling=scaling)
    if tensor.kind or len(divisors) != len(plain) or not np.allclose(plain / scaled, divisors, rtol=1e-3):
        raise BuildError(f"{file.path}: {_FACTORS} are not those of Llama 3, others are not supported")
    return scaling


def _shortest(value: float) -> float:
    """The shortest decimal of a number that was stored in 32 bits."""
    return float(str(np.float32(value)))
