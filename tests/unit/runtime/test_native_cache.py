"""Attention over a cache in fewer bits and within windows, against plain numpy with the same rounding and a mask."""

import numpy as np
import pytest

from tests.support.operators import run_operator
from xpm_runtime import native
from xpm_runtime.native import AllowedMemory, library

pytestmark = pytest.mark.skipif(library() is None, reason="this machine can't run the native kernels")
_FAMILIES = [name for name in ("generic", "avx2", "avxvnni", "avx512vnni", "neon") if native.use_family(name)]
CAPACITY = 128
PLAIN = (16, 16, 0, 0)


@pytest.fixture(params=_FAMILIES, autouse=True)
def family(request):
    """Every family that this processor has."""
    before = native.family()
    assert native.use_family(request.param)
    yield
    native.use_family(before)


class Cache:
    """Rows of a cache, each with its own layout (bits of keys, of values, window, sinks)."""

    def __init__(self, layouts, *, heads, kv_heads, dim, describe=True):
        self.layouts = np.array(layouts, np.int32)
        self.heads, self.kv_heads, self.dim = heads, kv_heads, dim
        self.arrays = [np.zeros((len(layouts), kv_heads, CAPACITY, dim), np.float16) for _ in range(2)]
        self.allowed = [AllowedMemory(each.ctypes.data, each.nbytes, is_writable=True) for each in self.arrays]
        for allowed in self.allowed if describe else ():
            allowed.describe_rows(self.layouts, self.arrays[0][0].nbytes)
        angles = np.random.default_rng(1).random((CAPACITY, dim // 2)).astype(np.float32)
        self.cos, self.sin = np.cos(angles), np.sin(angles)

    def run(self, qkv, past):
        """What comes of new tokens, (rows, tokens, width), behind the first ``past`` of each row."""
        rows, new, width = qkv.shape
        feeds = {
            "qkv": np.ascontiguousarray(qkv.reshape(rows * new, width)),
            "k": self.arrays[0],
            "v": self.arrays[1],
            "seqlens": np.full(rows, past + new - 1, np.int32),
            "cos": self.cos,
            "sin": self.sin,
        }
        found = run_operator(
            "SlotAttention",
            feeds,
            names=[*feeds, "", ""],
            num_heads=self.heads,
            kv_num_heads=self.kv_heads,
            head_dim=self.dim,
            epsilon=1e-6,
            scale=self.dim**-0.5,
        )
        return found.reshape(rows, new, self.heads * self.dim)

    def turned(self, x, positions):
        """(tokens, heads, dim) rotated."""
        a, b = np.split(x, 2, axis=-1)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def wanted(self, qkv, row):
        """The same of one row, all tokens at once, in float64."""
        key_bits, value_bits, window, sinks = map(int, self.layouts[row])
        tokens = qkv.shape[1]
        parts = qkv[row].reshape(tokens, -1, self.dim).astype(np.float64)
        places = np.arange(tokens)
        keys = _rounded(self.turned(parts[:, self.heads : self.heads + self.kv_heads], places), key_bits)
        values = _rounded(parts[:, self.heads + self.kv_heads :], value_bits)
        result = np.zeros((tokens, self.heads, self.dim))
        for place in places:
            seen = places[: place + 1]
            is_sink = np.zeros(len(seen), bool)
            if window and place >= window:
                is_sink = seen < sinks
                seen = seen[is_sink | (seen > place - window)]
                is_sink = seen < sinks
            query = self.turned(parts[[place], : self.heads], [place])[0]
            nearer = self.turned(parts[[place], : self.heads], [min(place, window + sinks - 1)] if window else [place])[
                0
            ]
            for head in range(self.heads):
                group = head // (self.heads // self.kv_heads)
                scores = np.where(is_sink, keys[seen, group] @ nearer[head], keys[seen, group] @ query[head])
                shares = np.exp(scores * self.dim**-0.5 - (scores * self.dim**-0.5).max())
                result[place, head] = shares @ values[seen, group] / shares.sum()
        return result.reshape(tokens, -1)


def _rounded(x, bits):
    if bits == 16:
        return x.astype(np.float16).astype(np.float64)
    most = 2 ** (bits - 1) - 1
    scales = (np.abs(x).max(-1, keepdims=True) / most).astype(np.float16).astype(np.float64)
    return np.clip(np.rint(x / np.where(scales == 0, 1, scales)), -most, most) * scales


def _tokens(rng, cache, count):
    return rng.standard_normal((len(cache.layouts), count, (cache.heads + 2 * cache.kv_heads) * cache.dim)).astype("f4")


SHAPES = [(4, 2, 32), (9, 3, 64), (3, 3, 16), (9, 1, 80), (2, 1, 128)]


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), SHAPES)
@pytest.mark.parametrize("bits", [(8, 8), (8, 4)])
def test_a_cache_in_fewer_bits_is_rounded_and_nothing_else(bits, heads, kv_heads, dim):
    """Prefilled in two chunks, then token by token; only what is rounded at the half may be rounded otherwise."""
    cache = Cache([(*bits, 0, 0)], heads=heads, kv_heads=kv_heads, dim=dim)
    qkv = _tokens(np.random.default_rng(2), cache, 60)
    found = [cache.run(qkv[:, :37], 0), cache.run(qkv[:, 37:50], 37)]
    found += [cache.run(qkv[:, place : place + 1], place) for place in range(50, 60)]
    difference = np.abs(np.concatenate(found, axis=1)[0] - cache.wanted(qkv, 0))
    assert np.median(difference) < 1e-3
    assert difference.max() < (0.03 if bits[1] == 8 else 0.2)


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(9, 3, 64), (3, 3, 16)])
@pytest.mark.parametrize("bits", [(16, 16), (8, 4)])
@pytest.mark.parametrize(("window", "sinks"), [(16, 0), (16, 8), (20, 3), (127, 4)])
def test_a_window_is_a_mask(window, sinks, bits, heads, kv_heads, dim):
    cache = Cache([(*bits, window, sinks)], heads=heads, kv_heads=kv_heads, dim=dim)
    qkv = _tokens(np.random.default_rng(3), cache, 55)
    found = [cache.run(qkv[:, :7], 0), cache.run(qkv[:, 7:30], 7), cache.run(qkv[:, 30:50], 30)]
    found += [cache.run(qkv[:, place : place + 1], place) for place in range(50, 55)]
    difference = np.abs(np.concatenate(found, axis=1)[0] - cache.wanted(qkv, 0))
    assert np.median(difference) < 1e-3
    assert difference.max() < {16: 1e-2, 4: 0.3}[bits[1]]


def test_what_left_the_window_is_not_read():
    """It is given back to the system, which makes zeros of it; here it is not even a number."""
    cache = Cache([(16, 16, 16, 2)], heads=4, kv_heads=2, dim=32)
    qkv = _tokens(np.random.default_rng(4), cache, 61)
    cache.run(qkv[:, :60], 0)
    for array in cache.arrays:
        array[:, :, 2 : 60 - 15] = np.nan
        array[:, :, 61:] = np.nan
    found = cache.run(qkv[:, 60:], 60)
    assert np.abs(found[0, 0] - cache.wanted(qkv, 0)[60]).max() < 1e-2


def test_rows_of_all_kinds_run_together_as_they_do_alone():
    layouts = [PLAIN, (8, 8, 0, 0), (8, 4, 0, 0), (16, 16, 16, 4), (8, 4, 20, 0)]
    together = Cache(layouts, heads=4, kv_heads=2, dim=64)
    qkv = _tokens(np.random.default_rng(5), together, 40)
    found = [together.run(qkv[:, :30], 0), *(together.run(qkv[:, n : n + 1], n) for n in range(30, 40))]
    for row, layout in enumerate(layouts):
        alone = Cache([layout], heads=4, kv_heads=2, dim=64)
        own = qkv[row : row + 1]
        wanted = [alone.run(own[:, :30], 0), *(alone.run(own[:, n : n + 1], n) for n in range(30, 40))]
        for all_rows, one in zip(found, wanted, strict=True):
            assert np.array_equal(all_rows[row], one[0])


def test_a_row_in_fewer_bits_touches_no_more_than_it_says():
    cache = Cache([(8, 8, 0, 0), (8, 4, 0, 0)], heads=4, kv_heads=2, dim=64)
    cache.run(_tokens(np.random.default_rng(6), cache, 40), 0)
    for tensor, bytes_of_row in ((0, (64, 64)), (1, (64, 32))):
        for row, size in enumerate(bytes_of_row):
            heads = cache.arrays[tensor][row].reshape(2, -1).view(np.uint8)
            numbers, scales = slice(40 * size, CAPACITY * size), slice(CAPACITY * size + 2 * 40, None)
            assert heads[:, : 40 * size].any()
            assert not heads[:, numbers].any(), "it wrote behind its tokens"
            assert not heads[:, scales].any(), "it wrote behind their scales"


@pytest.mark.parametrize("bits", [(8, 8), (8, 4)])
@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_stays_so(spoilt, bits):
    cache = Cache([(*bits, 0, 0)], heads=2, kv_heads=1, dim=32)
    qkv = _tokens(np.random.default_rng(7), cache, 3)
    qkv[0, 1, -1] = spoilt  # in a value
    assert np.isfinite(cache.run(qkv[:, :1], 0)).all()
    assert not np.isfinite(cache.run(qkv[:, 1:2], 1)).all()
    assert not np.isfinite(cache.run(qkv[:, 2:], 2)).all()


def test_zeros_stay_zeros():
    cache = Cache([(8, 4, 0, 0)], heads=2, kv_heads=1, dim=32)
    assert not cache.run(np.zeros((1, 5, 128), np.float32), 0).any()


@pytest.mark.parametrize(
    "layout",
    [
        (4, 4, 0, 0),
        (16, 8, 0, 0),
        (8, 16, 0, 0),
        (0, 0, 0, 0),
        (16, 16, 15, 0),
        (16, 16, -1, 0),
        (8, 8, 20, 11),
        (8, 8, 20, -1),
    ],
)
def test_layouts_that_are_unknown_are_refused(layout):
    cache = Cache([layout], heads=2, kv_heads=1, dim=32)
    with pytest.raises(Exception, match="kept in a way that is unknown"):
        cache.run(np.ones((1, 2, 128), np.float32), 0)
    assert not cache.arrays[0].any()


def test_a_head_that_is_too_small_for_its_scales_is_refused():
    cache = Cache([(8, 4, 0, 0)], heads=2, kv_heads=1, dim=8)
    with pytest.raises(Exception, match="kept in a way that is unknown"):
        cache.run(np.ones((1, 2, 32), np.float32), 0)


def test_rows_of_another_size_than_was_described_are_plain():
    """A graph could cut a cache otherwise than the runtime did: it must not lead the kernels behind the description."""
    cache = Cache([(8, 8, 0, 0)], heads=2, kv_heads=1, dim=32)
    qkv = _tokens(np.random.default_rng(8), cache, 4)
    cache.layouts[:] = PLAIN
    wanted = cache.run(qkv, 0)
    cache.layouts[:] = 8, 8, 0, 0
    cache.arrays = [array.reshape(2, 1, CAPACITY // 2, 32)[:1] for array in cache.arrays]
    assert np.array_equal(cache.run(qkv, 0), wanted)
