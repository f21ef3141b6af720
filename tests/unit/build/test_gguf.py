"""GGUF files are read as the models that they were made of: the same configuration, the same numbers, the same ids."""

import itertools
import random
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tests.support import models
from tests.support.gguf_files import sentence_pieces, write_gguf, write_vocabulary
from xpm_build.base.checkpoint import FolderCheckpoint
from xpm_build.base.export import export_base, open_checkpoint
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.gguf_blocks import BLOCK_KINDS
from xpm_build.base.gguf_tokenizer import _CUTS, build_tokenizer
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_runtime import Engine

TEXTS = (
    "the cat sat on the mat",
    "  two  spaces\n\n\nlines\r\n\ttab",
    "1234567 3.14 ½ ²",
    "naïve e\u0301 Привет 日本語 한국어 हिन्दी",
    "👩‍👩‍👧‍👦🎉\u200b\ufeff",
    "I'm WE'LL you'Re 's",
    "def f(x):\n    return {x: [1, 2]}  # a|b <= c^d~`",
    "<|im_start|>user\nhi<|im_end|>",
    "<added><added>x",
    "<|im_start|",
    "\u00a0\u2003x\u3000",
    "a\x00b\x7f",
    "ǅ ſ K ﬁ",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Tiny models by architecture, each made once."""
    made = {}

    def source(architecture):
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            made[architecture] = models.save_tiny_model(folder, architecture=architecture, vocab_size=320)
        return made[architecture]

    return source


@pytest.mark.parametrize("kind", BLOCK_KINDS.values(), ids=lambda kind: kind.name)
def test_blocks_keep_their_numbers(kind):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (96, kind.num_bytes), dtype=np.uint8)
    places = {"Q6_K": [208], "Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2]}.get(kind.name, [0])
    for place in places:
        stored[:, place : place + 2] = (0.05 * rng.standard_normal((96, 1))).astype(np.float16).view(np.uint8)
    wanted = gguf.quants.dequantize(stored.reshape(24, -1), gguf.GGMLQuantizationType[kind.name])
    matrix = kind.matrix(stored.reshape(-1), (24, 4 * kind.weights))
    np.testing.assert_allclose(matrix.dequantized(), wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())
    np.testing.assert_array_equal(matrix.widened().dequantized(), matrix.dequantized())


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3-untied", "qwen3-biased", "qwen2", "llama", "llama-biased"])
def test_it_is_the_model_it_was_made_of(architecture, sources, tmp_path):
    source = sources(architecture)
    read, wanted = open_checkpoint(write_gguf(source, tmp_path / "model.gguf")), FolderCheckpoint(source)
    for key in (
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "num_key_value_heads",
        "intermediate_size",
        "rope_theta",
        "rms_norm_eps",
        "vocab_size",
        "tie_word_embeddings",
        "max_position_embeddings",
    ):
        assert getattr(read.configuration, key) == getattr(wanted.configuration, key), key
    names = {name for name in wanted if name != "lm_head.weight" or not wanted.configuration.tie_word_embeddings}
    assert set(read) == names
    for name in names:
        np.testing.assert_array_equal(read[name], wanted[name])
    assert fingerprint(read, read.configuration) == fingerprint(wanted, wanted.configuration)


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [
        ("Q4_1", {"token_embd": "Q8_0"}),
        ("Q4_0", {}),
        ("Q8_0", {}),
        ("Q4_0", {"attn_v": "Q5_1", "ffn_down": "Q8_0", "token_embd": "Q4_1"}),
        ("BF16", {}),
    ],
)
def test_a_base_computes_with_the_numbers_of_the_file(kind, kinds, sources, tmp_path):
    checkpoint = open_checkpoint(write_gguf(sources("llama"), tmp_path / "model.gguf", kind=kind, kinds=kinds))
    export_base(checkpoint, tmp_path / "int4", variant="int4")
    export_base(checkpoint, tmp_path / "fp32", variant="fp32")
    assert (tmp_path / "int4" / "native.onnx").is_file()
    tokens = probe_tokens(checkpoint.configuration.vocab_size)
    got = {}
    for variant in ("int4", "fp32"):
        with Engine.load(tmp_path / variant, device="cpu", threads=1, max_lanes=1, context=64) as engine:
            got[variant] = engine.logits(tokens)
    if kind != "BF16":  # which is quantised anew
        assert np.abs(got["int4"] - got["fp32"]).max() < 0.05 * np.abs(got["fp32"]).max()
    model = models.load(sources("llama"))
    weights = {name: torch.from_numpy(np.array(checkpoint[name])) for name in checkpoint}
    model.load_state_dict(weights, strict=False)
    np.testing.assert_allclose(got["fp32"], reference_logits(model, tokens), atol=1e-3)


SHAPES = {
    "llama of before there were rules": ("llama", {"pre": None, "without": ("vocab_size", "rope.freq_base")}),
    "llama without lengths of heads": (
        "llama",
        {"without": ("attention.key_length", "attention.value_length", "vocab_size")},
    ),
    "llama with as many key heads": ("llama-biased", {"without": ("attention.head_count_kv",)}),
    "llama without a stated rotation": ("llama", {"without": ("rope.dimension_count",)}),
    "llama scaled linearly, as it was once written": ("llama", {"extra": {"rope.scale_linear": 4.0}}),
    "llama scaled linearly": ("llama", {"extra": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}}),
    "qwen2 of the first converter": (
        "qwen2",
        {"pre": "qwen2", "without": ("attention.key_length", "attention.value_length")},
    ),
    "qwen2 that is stretched": (
        "qwen2",
        {
            "extra": {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 64,
            }
        },
    ),
    "qwen3": ("qwen3", {"pre": "qwen2"}),
    "qwen3 with a head of its own": ("qwen3-untied", {"pre": "qwen2", "without": ("vocab_size",)}),
    "qwen3 of no scaling": ("qwen3", {"extra": {"rope.scaling.type": "none"}}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_metadata_of_several_ages(shape, sources, tmp_path):
    architecture, options = SHAPES[shape]
    checkpoint = open_checkpoint(write_gguf(sources(architecture), tmp_path / "model.gguf", **options))
    scaling = checkpoint.configuration.rope_scaling
    assert (scaling or {}).get("factor") == (4.0 if "scaled" in shape or "stretched" in shape else None)
    export_base(checkpoint, tmp_path / "base", variant="int4")
    with Engine.load(tmp_path / "base", device="cpu", threads=1, max_lanes=1, context=64) as engine:
        assert np.isfinite(engine.logits([1, 2, 3])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "is not a GGUF file"),
        (lambda data: b"GGML" + data[4:], "does not begin with GGUF"),
        (lambda data: data[:4] + b"\x63\0\0\0" + data[8:], "its version is 99"),
        (lambda data: data[:300], "in the middle of its metadata"),
        (lambda data: data[:-70_000], "ends within"),
        (lambda data: data.replace(b"attn_norm", b"attn_morn"), "has no place in a base"),
        (lambda data: data.replace(b"gpt2", b"bert"), "'bert' are not supported"),
        (lambda data: data.replace(b"gpt-2", b"gpt-9"), "rules called 'gpt-9'"),
        (lambda data: data[:16] + b"\xff" * 8 + data[24:], "is not a GGUF file"),
        (
            lambda data: data.replace(
                b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
                b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0mamba",
            ),
            "'mamba' are not supported",
        ),
    ],
)
def test_what_can_not_be_read_is_told(change, message, sources, tmp_path):
    path = write_gguf(sources("llama"), tmp_path / "model.gguf")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BuildError) as caught:
        export_base(path, tmp_path / "base", variant="int4")
    assert message in f"{caught.value.message} {caught.value.context}"


@pytest.mark.parametrize("pre", sorted(_CUTS))
def test_ids_are_those_of_llama_cpp(pre, sources, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    path = write_gguf(sources("llama"), tmp_path / "model.gguf", pre=pre)
    open_checkpoint(path).write_text_files(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    peer = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    rng = random.Random(0)
    for text in (*TEXTS, *("".join(rng.choices(TEXTS, k=3)) for _ in range(40))):
        wanted = peer.tokenize(text.encode(), add_bos=True, special=True)
        assert tokenizer.encode(text, add_special_tokens=True).ids == wanted, repr(text)


def pieces_of(text, metadata):
    """Ids by SentencePiece's rule, of a text without tokens that somebody added: of two neighbours that
    together are a piece, those of the best score are joined first, the leftmost of equals; what is no piece in
    the end becomes its bytes."""
    tokens, scores = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"]
    ids = {token: number for number, token in enumerate(tokens)}
    prefix = "▁" if metadata["tokenizer.ggml.add_space_prefix"] and text else ""
    parts = list(prefix + text.replace(" ", "▁"))
    while joins := [(-scores[ids[a + b]], n) for n, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ids]:
        place = min(joins)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]
    found = ([ids[each]] if each in ids else [ids[f"<0x{byte:02X}>"] for byte in each.encode()] for each in parts)
    return list(itertools.chain(*found))


def texts_of_pieces():
    rng = random.Random(0)
    texts = [*TEXTS, *("".join(rng.choices(TEXTS, k=3)) for _ in range(40)), "", " ", "▁", "<0x41>", "</s", "dog" * 40]
    return [*texts, *("".join(rng.choices("the cat d▁\n1é日", k=30)) for _ in range(100))]


@pytest.mark.parametrize("has_prefix", [True, False])
def test_ids_are_those_of_sentence_piece(has_prefix):
    metadata = sentence_pieces(has_prefix=has_prefix)
    tokenizer, _ = build_tokenizer(metadata)
    for text in texts_of_pieces():
        if "<added>" not in text:
            assert tokenizer.encode(text, add_special_tokens=False).ids == pieces_of(text, metadata), repr(text)
    parts = tokenizer.encode("the<added> cat</s>x", add_special_tokens=True).tokens
    assert [each for each in parts if each.startswith("<")] == ["<s>", "<added>", "</s>"]


@pytest.mark.parametrize("has_prefix", [True, False])
def test_ids_of_pieces_are_those_of_llama_cpp(has_prefix, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    metadata = sentence_pieces(has_prefix=has_prefix)
    tokenizer, _ = build_tokenizer(metadata)
    peer = llama_cpp.Llama(str(write_vocabulary(metadata, tmp_path / "x.gguf")), vocab_only=True, verbose=False)
    for text in [*texts_of_pieces(), "the<added> cat</s>x", "<s>the"]:
        wanted = peer.tokenize(text.encode(), add_bos=True, special=True)
        assert tokenizer.encode(text, add_special_tokens=True).ids == wanted, repr(text)


def test_an_unknown_token_beyond_the_vocabulary_is_told():
    with pytest.raises(BuildError, match="unknown token is not of its vocabulary"):
        build_tokenizer({**sentence_pieces(), "tokenizer.ggml.unknown_token_id": 100_000})


def test_no_torch_is_needed(sources, tmp_path):
    write_gguf(sources("llama"), tmp_path / "model.gguf", kind="Q4_1")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'gguf', 'peft'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from xpm_build.base.export import export_base\n"
        "export_base(Path(sys.argv[1]), Path(sys.argv[2]), variant='int4')\n"
    )
    for number, source in enumerate((tmp_path / "model.gguf", sources("qwen3"))):
        command = [sys.executable, "-c", code, str(source), str(tmp_path / str(number))]
        subprocess.run(command, check=True, timeout=120)
        assert (tmp_path / str(number) / "graph.json").is_file()
