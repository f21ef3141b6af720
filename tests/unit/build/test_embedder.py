"""`xpm build embedder`: tiny random encoders, as sentence-transformers lays them out and plain."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, PreTrainedTokenizerFast

from tests.support.encoders import save_encoder
from xpm_build.embedder import LEAST_COSINE, build_embedder
from xpm_build.errors import BuildError
from xpm_runtime.embedder import Embedder
from xpm_runtime.errors import ModelLoadError, RequestError

TEXTS = ["a short one", "another, rather longer than the first: 1, 2, 3!", "z"]


def _plain(folder, texts):
    """Hidden states of each text by Transformers: (tokens, size)."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    with torch.no_grad():
        return [
            model(torch.tensor([tokenizer.backend_tokenizer.encode(text).ids])).last_hidden_state[0] for text in texts
        ]


_ALL = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize(
    ("mode", "pool"),
    [
        ("mean_tokens", lambda hidden: hidden.mean(0)),
        ("max_tokens", lambda hidden: hidden.amax(0)),
        ("cls_token", lambda hidden: hidden[0]),
        ("lasttoken", lambda hidden: hidden[-1]),
    ],
)
def test_vectors_are_those_of_the_source(tmp_path, kind, mode, pool):
    pooling = {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    source = save_encoder(tmp_path / "source", kind=kind, modules=_ALL, pooling=pooling)
    built = build_embedder(source, tmp_path / "out")
    assert built.cosine >= LEAST_COSINE
    got = Embedder.load(built.path, threads=1).embed(TEXTS)
    wanted = [torch.nn.functional.normalize(pool(hidden), dim=0).numpy() for hidden in _plain(source, TEXTS)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_plain_encoder_gives_the_mean_of_its_tokens(tmp_path):
    source = save_encoder(tmp_path / "source")
    built = build_embedder(source, tmp_path / "out")
    got = Embedder.load(built.path, threads=1).embed(TEXTS)
    np.testing.assert_allclose(got, [hidden.mean(0).numpy() for hidden in _plain(source, TEXTS)], atol=1e-5)


def test_of_a_long_text_as_much_is_read_as_the_source_reads(tmp_path):
    pooling = {"pooling_mode_mean_tokens": True}
    source = save_encoder(tmp_path / "source", modules=_ALL, pooling=pooling, settings={"max_seq_length": 10})
    embedder = Embedder.load(build_embedder(source, tmp_path / "out").path, threads=1)
    start, end = embedder.embed(["a b c d e f g h", "a b c d e f g h i j k"])
    np.testing.assert_allclose(start, end, atol=1e-6)
    with pytest.raises(RequestError, match="no texts"):
        embedder.embed([])


def test_what_is_not_supported_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(BuildError, match="is there already"):
        build_embedder(tmp_path, tmp_path / "there")
    dense = save_encoder(
        tmp_path / "dense", modules={**_ALL, "Dense": "3_Dense"}, pooling={"pooling_mode_cls_token": True}
    )
    with pytest.raises(BuildError, match="module Dense, which is not supported"):
        build_embedder(dense, tmp_path / "out")
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    with pytest.raises(BuildError, match="pools in a way that is not supported"):
        build_embedder(save_encoder(tmp_path / "both", modules=_ALL, pooling=both), tmp_path / "out")
    with pytest.raises(BuildError, match="could not be loaded"):
        build_embedder(tmp_path / "there", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ModelLoadError, match="is not an exported embedder"):
        Embedder.load(tmp_path)


def test_the_first_layers_alone(tmp_path):
    source = save_encoder(tmp_path / "model")
    whole = build_embedder(source, tmp_path / "whole")
    cut = build_embedder(source, tmp_path / "cut", layers=1)
    assert cut.cosine >= LEAST_COSINE
    assert (cut.path / "encoder.onnx").stat().st_size < (whole.path / "encoder.onnx").stat().st_size
    digests = {Embedder.load(each.path).digest for each in (whole, cut)}
    assert len(digests) == 2
    for layers in (0, 3):
        with pytest.raises(BuildError, match="has 2 layers"):
            build_embedder(source, tmp_path / "no", layers=layers)


def test_the_same_encoder_has_the_same_digest(tmp_path):
    source = save_encoder(tmp_path / "model")
    digests = {Embedder.load(build_embedder(source, tmp_path / name).path).digest for name in ("one", "two")}
    assert len(digests) == 1


def test_for_routing_the_beginning_is_read(tmp_path):
    embedder = Embedder.for_routing(build_embedder(save_encoder(tmp_path / "model"), tmp_path / "out").path)
    assert embedder.embed(["a b " * 200]).shape == (1, 32)
