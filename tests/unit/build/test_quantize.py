"""Blocks of few bits: what is stored, and that the kernels read it as it is meant."""

import numpy as np
import pytest

from xpm_build.base.quantize import quantize_matrix
from xpm_build.errors import BuildError


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [32, 64, 128])
def test_the_error_is_at_most_half_a_step(bits, block):
    weight = np.random.default_rng(0).standard_normal((5000, 256), dtype=np.float32)
    quantized = quantize_matrix(weight, bits=bits, block=block)
    assert quantized.packed.shape == (5000, 256 // block, block * bits // 8)
    error = np.abs(quantized.dequantized() - weight).reshape(5000, -1, block)
    step = np.abs(quantized.scales)[..., None]
    # The largest magnitude is met exactly; its opposite has no number of its own and may be off by a whole step.
    assert (error <= step * 1.001).all()
    assert (error <= step * 0.501).mean() > 0.97


def test_zeros_stay_zeros():
    assert not quantize_matrix(np.zeros((2, 64), np.float32), bits=4, block=32).dequantized().any()


def test_rows_that_are_not_whole_blocks_are_refused():
    with pytest.raises(BuildError, match="not whole blocks of 128"):
        quantize_matrix(np.zeros((2, 96), np.float32), bits=4, block=128)
