"""Small GGUF files, written by the `gguf` library from a tiny model's folder as llama.cpp's
own converter writes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.support.models import SPECIAL, load

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_PROSE = "the cat sat on the mat, and the  dog 1234 barked.\n\tNaïve привет 日本語 def f(x): return x\n" * 9
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def vocabulary(size: int, *, text: str = "the cat sat on the mat, and the dog 1234 barked.\n" * 9) -> dict[str, Any]:
    """Metadata of a byte-level tokenizer of ``size`` tokens, merges among them, and one token that somebody added."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    count = size - len(SPECIAL) - 1
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=count, initial_alphabet=alphabet))
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [*SPECIAL, *sorted(model["vocab"], key=model["vocab"].get), "<added>"]
    tokens += [f"[PAD{number}]" for number in range(len(tokens), size)]
    kinds = [_CONTROL] * len(SPECIAL) + [_NORMAL] * (size - len(SPECIAL))
    kinds[tokens.index("<added>")] = _USER_DEFINED
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    return {"tokens": tokens, "kinds": kinds, "merges": merges}


def sentence_pieces(*, text: str = _PROSE, has_prefix: bool = True) -> dict[str, Any]:
    """Metadata of a tokenizer as SentencePiece trains them: three control tokens, 256 bytes, one
    that somebody added, pieces."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False)
    tokenizer.train_from_iterator([text.replace(" ", "▁")], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    joined = ["".join(pair if isinstance(pair, list) else pair.split(" ")) for pair in model["merges"]]
    letters = [each for each in sorted(model["vocab"]) if len(each) == 1 and each != "\n"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "<added>"]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, _USER_DEFINED]
    pieces = [*dict.fromkeys(joined), *letters]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens + pieces,
        "tokenizer.ggml.scores": [0.0] * len(tokens) + [-float(place) for place in range(len(pieces))],
        "tokenizer.ggml.token_type": kinds + [_NORMAL] * len(pieces),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": has_prefix,
    }


def write_vocabulary(metadata: Mapping[str, Any], out: Path) -> Path:
    """A file of a tokenizer alone."""
    writer = gguf.GGUFWriter(out, "llama")
    for key in ("context_length", "embedding_length", "feed_forward_length"):
        writer.add_uint32(f"llama.{key}", 64)
    writer.add_uint32("llama.block_count", 0)
    writer.add_uint32("llama.attention.head_count", 4)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys as the converter of the llama family orders them."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    source: Path,
    out: Path,
    *,
    kind: str = "F32",
    kinds: Mapping[str, str] | None = None,
    pre: str | None = "gpt-2",
    without: tuple[str, ...] = (),
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """The model in ``source`` as a GGUF file.

    Args:
        kind: how matrices are stored; ``kinds`` says otherwise for those whose name holds a key of it.
        pre: the name of the tokenizer's rules, None for a file of before there were any.
        without: keys that are left out, after the architecture's name; ``extra`` are more, of numbers and texts.
    """
    model = load(source)
    config = model.config
    name = config.model_type
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": head_dim,
        "vocab_size": config.vocab_size,
        "rope.freq_base": float(config.rope_theta),
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
    }
    writer = gguf.GGUFWriter(out, name)
    for key, value in (numbers | dict(extra or {})).items():
        if key not in without:
            add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
            add(key if key.startswith("tokenizer.") else f"{name}.{key}", value)
    words = vocabulary(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(words["tokens"])
    writer.add_token_types(words["kinds"])
    writer.add_token_merges(words["merges"])
    writer.add_eos_token_id(2)
    writer.add_bos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    for tensor, values in model.state_dict().items():
        if tensor == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = values.numpy()
        if name == "llama" and ".self_attn.q_proj" in tensor:
            array = permuted(array, config.num_attention_heads)
        if name == "llama" and ".self_attn.k_proj" in tensor:
            array = permuted(array, config.num_key_value_heads)
        stored = _stored_name(tensor)
        wanted = next((value for key, value in (kinds or {}).items() if key in stored), kind)
        quantized = gguf.GGMLQuantizationType[wanted if array.ndim == 2 else "F32"]
        writer.add_tensor(stored, gguf.quants.quantize(array, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _stored_name(tensor: str) -> str:
    if tensor in _OUTSIDE:
        return _OUTSIDE[tensor]
    _, _, layer, rest = tensor.split(".", 3)
    place, _, part = rest.rpartition(".")
    return f"blk.{layer}.{_LAYER[place]}.{part}"
