"""Quantisers that look at a text: the decoder they compute with, what they save, and what a measured base must be."""

import numpy as np
import onnx
import pytest

from tests.support import models
from tests.support.gguf_files import write_gguf
from xpm_build.base import block_scales
from xpm_build.base.architecture import Architecture
from xpm_build.base.checkpoint import FolderCheckpoint
from xpm_build.base.export import export_base, open_checkpoint
from xpm_build.base.forward import Decoder, last_hidden
from xpm_build.base.gptq import gptq
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.base.quality import difference, measure
from xpm_build.base.quantize import quantize_matrix
from xpm_build.errors import BuildError, ParityError


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3-biased", "qwen2", "llama-biased", "llama-scaled"])
def test_the_decoder_computes_what_transformers_does(architecture, tmp_path):
    source = models.save_tiny_model(tmp_path, architecture=architecture)
    checkpoint = FolderCheckpoint(source)
    decoder = Decoder(Architecture(checkpoint.configuration), checkpoint, num_tokens=24)
    tokens = probe_tokens(checkpoint.configuration.vocab_size)
    got = decoder.logits(last_hidden(decoder, np.array([tokens])))[0]
    np.testing.assert_allclose(got, reference_logits(models.load(source), tokens), atol=1e-4)


@pytest.fixture(scope="module")
def weights():
    """A matrix with outliers, and inputs of which some columns are much larger than others."""
    rng = np.random.default_rng(0)
    weight = rng.standard_t(4, (96, 128)).astype(np.float32)
    inputs = (rng.standard_normal((400, 128)) * np.exp(rng.standard_normal(128))).astype(np.float32)
    return weight, inputs


def _error(weight, kept, inputs):
    return float(np.square(inputs @ (kept - weight).T).mean())


def test_each_step_loses_less_of_the_products(weights):
    weight, inputs = weights
    blocks, importance = weight.reshape(96, 4, 32), np.square(inputs).sum(axis=0).reshape(4, 32)
    scales = block_scales.symmetric(blocks, 4, importance)
    searched = (block_scales.rounded(blocks, scales, None, 4).astype(np.float32) - 8) * scales[..., None]
    scales, minima = block_scales.asymmetric(blocks, 4, importance)
    raised = (block_scales.rounded(blocks, scales, minima, 4).astype(np.float32) - 8) * scales[..., None]
    raised = raised + minima[..., None]
    fitted = gptq(weight, (inputs.T @ inputs).astype(np.float64), bits=4, block=32, with_minima=True).dequantized()
    kept = [
        quantize_matrix(weight, bits=4, block=32).dequantized(),
        searched.reshape(96, -1),
        raised.reshape(96, -1),
        fitted,
    ]
    errors = [_error(weight, each, inputs) for each in kept]
    assert errors == sorted(errors, reverse=True)


def test_blocks_of_one_value_and_of_zeros_are_kept():
    blocks = np.zeros((2, 2, 32), np.float32)
    blocks[1] = 0.75
    scales, minima = block_scales.asymmetric(blocks, 4)
    numbers = block_scales.rounded(blocks, scales, minima, 4).astype(np.float32) - 8
    np.testing.assert_allclose(numbers * scales[..., None] + minima[..., None], blocks, atol=1e-6)
    assert not block_scales.symmetric(blocks, 4)[0].any()


@pytest.mark.parametrize("method", ["nearest", "search", "minima", "gptq"])
def test_a_base_by_each_quantiser(method, tmp_path):
    source = models.save_tiny_model(tmp_path / "model", architecture="llama", vocab_size=320)
    checkpoint = open_checkpoint(write_gguf(source, tmp_path / "model.gguf"))
    for number in range(2):
        export_base(checkpoint, tmp_path / str(number), variant="int4", quantizer=method)
    assert (tmp_path / "0" / "native.onnx").is_file()
    for path in (tmp_path / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes(), path.name
    quality = measure(tmp_path / "0", checkpoint, "int4")
    assert quality.kernels.loss < 0.02
    assert quality.weights.loss < 0.3
    assert 1 < quality.perplexity < 2 * quality.perplexity_before


def test_an_unknown_quantiser_is_told(tmp_path):
    source = models.save_tiny_model(tmp_path / "model")
    with pytest.raises(BuildError, match="'best' is unknown"):
        export_base(source, tmp_path / "out", variant="int4", quantizer="best")


def test_another_models_graph_is_refused(tmp_path):
    source = models.save_tiny_model(tmp_path / "model", architecture="llama", vocab_size=320)
    checkpoint = open_checkpoint(write_gguf(source, tmp_path / "model.gguf"))
    export_base(checkpoint, tmp_path / "base", variant="int8")
    graph = onnx.load(tmp_path / "base" / "model.onnx", load_external_data=False)
    for node in graph.graph.node:  # keys where values belong
        if node.op_type == "GroupQueryAttention":
            node.input[2] = node.input[1]
    (tmp_path / "base" / "model.onnx").write_bytes(graph.SerializeToString())
    (tmp_path / "base" / "native.onnx").unlink()
    with pytest.raises(ParityError, match="predicts otherwise than the model"):
        measure(tmp_path / "base", checkpoint, "int8")


def test_differences_are_of_predictions():
    logits = np.random.default_rng(0).standard_normal((2, 8, 40)).astype(np.float32)
    same, shifted = difference(logits, logits), difference(logits, logits + 3)
    assert (same.top1, shifted.top1) == (1.0, 1.0)
    assert abs(same.kl) < 1e-6
    assert abs(shifted.kl) < 1e-5
    other = difference(logits, np.roll(logits, 1, axis=-1))
    assert other.loss > 1
    assert other.top1 < 0.2
