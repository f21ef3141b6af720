"""The operators against plain numpy, over shapes that models don't have; and that they refuse
what they must not compute."""

import numpy as np
import pytest

from tests.support.operators import run_operator
from xpm_build.base.quantize import quantize_matrix
from xpm_runtime import native
from xpm_runtime.native import AllowedMemory, library

pytestmark = pytest.mark.skipif(library() is None, reason="this machine can't run the native kernels")
_FAMILIES = [name for name in ("generic", "avx2", "avxvnni", "avx512vnni", "neon") if native.use_family(name)]


@pytest.fixture(params=_FAMILIES, autouse=True)
def family(request):
    """Every family that this processor has."""
    before = native.family()
    assert native.use_family(request.param)
    yield
    native.use_family(before)


def _exact_activations(rng, tokens, size):
    """Numbers that 8 bits hold exactly: each four neighbours have one of the largest magnitude."""
    numbers = rng.integers(-127, 128, (tokens, size)).astype(np.float32)
    numbers[:, ::4] = 127
    return numbers / 64


class Slots:
    """Adapters for a few linears, as the kernels want them; keeps the memory that the table leads to."""

    def __init__(self, rng, sizes, ranks, dtypes):
        self.arrays = [
            [[(0.1 * rng.standard_normal((rank, size))).astype(dtype) for size in pair] for pair in sizes]
            for rank, dtype in zip(ranks, dtypes, strict=True)
        ]
        self.table = np.array([[[a.ctypes.data for a in pair] for pair in each] for each in self.arrays], np.int64)
        self.types = np.array(
            [[rank, dtype == np.float16] for rank, dtype in zip(ranks, dtypes, strict=True)], np.int64
        )
        self.table, self.types = self.table.reshape(len(ranks), len(sizes), 2), self.types.reshape(len(ranks), 2)
        flat = [array for each in self.arrays for pair in each for array in pair]
        self._allowed = [AllowedMemory(array.ctypes.data, array.nbytes) for array in flat]


_NAMES = ["x", "w", "s", "slot_table", "slot_types", "row_slots", "row_scales"]


def _linear(
    rng, *, bits, block, num_in, parts, tokens, slots, rows=None, scales=None, bias=None, minima=False, **options
):
    weight = rng.standard_normal((sum(parts), num_in), dtype=np.float32)
    quantized = quantize_matrix(weight, bits=bits, block=block)
    x = _exact_activations(rng, tokens, num_in)
    rows = np.full((1, 0), -1, np.int64) if rows is None else rows
    feeds = {
        "x": x,
        "w": quantized.packed,
        "s": quantized.scales,
        "slot_table": slots.table,
        "slot_types": slots.types,
        "row_slots": rows,
        "row_scales": np.zeros((len(rows), 2), np.int64) if scales is None else scales,
    }
    if bias is not None:
        feeds["bias"] = bias
    wanted = x @ quantized.dequantized()[:, :num_in].T
    if minima:
        feeds["minima"] = rng.standard_normal(quantized.scales.shape, dtype=np.float32)
        wanted += x @ np.repeat(feeds["minima"], block, axis=1)[:, :num_in].T
    attributes = {f"part{number}": size for number, size in enumerate(parts)}
    got = run_operator(
        "SlotLinear",
        feeds,
        names=[*_NAMES, "bias" if bias is not None else "", "minima" if minima else ""],
        num_in=num_in,
        num_out=sum(parts),
        bits=bits,
        block=block,
        first_linear=0,
        column=3,
        **attributes,
        **options,
    )
    return got, x, wanted


def _close(got, wanted):
    return np.abs(got - wanted).max() < 2e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize(("bits", "minima"), [(4, False), (4, True), (8, False), (8, True)])
@pytest.mark.parametrize(
    ("block", "num_in"), [(32, 32), (32, 96), (32, 320), (64, 64), (64, 192), (128, 384), (256, 512)]
)
@pytest.mark.parametrize("tokens", [1, 2, 4, 7, 9])
def test_products_of_any_shape(bits, minima, block, num_in, tokens):
    rng = np.random.default_rng(0)
    slots = Slots(rng, [(num_in, 70)], [], [])
    got, _, wanted = _linear(
        rng, bits=bits, block=block, num_in=num_in, parts=[70], tokens=tokens, slots=slots, minima=minima
    )
    assert got.shape == (tokens, 70)
    # Eight neighbours share a scale in 4 bits, and the largest of each four is the same, so every number is exact.
    assert _close(got, wanted)


@pytest.mark.parametrize("per_row", [1, 3, 5])
@pytest.mark.parametrize("dtypes", [(np.float16,) * 3, (np.float32, np.float16, np.float32)])
def test_each_row_has_its_own_adapters(per_row, dtypes):
    rng = np.random.default_rng(1)
    parts, num_in, ranks = [600, 33, 33], 64, (1, 6, 17)
    slots = Slots(rng, [(num_in, size) for size in parts], ranks, dtypes)
    rows = np.array([[-1, -1], [0, -1], [2, 1], [1, -1]], np.int64)
    got, x, wanted = _linear(
        rng, bits=4, block=32, num_in=num_in, parts=parts, tokens=4 * per_row, slots=slots, rows=rows, threads=2
    )
    for row, acting in enumerate(rows):
        tokens = slice(row * per_row, (row + 1) * per_row)
        for adapter in acting[acting >= 0]:
            deltas = [x[tokens] @ a.T.astype(np.float32) @ b.astype(np.float32) for a, b in slots.arrays[adapter]]
            wanted[tokens] += np.concatenate(deltas, axis=1)
    assert _close(got, wanted)


def test_scales_biases_and_offsets():
    rng = np.random.default_rng(2)
    slots = Slots(rng, [(64, 40)], [], [])
    scales, offsets = (rng.standard_normal(50).astype(np.float32) for _ in range(2))
    allowed = [AllowedMemory(array.ctypes.data, array.nbytes) for array in (scales, offsets)]
    addresses = np.array([[0, 0], [scales.ctypes.data, offsets.ctypes.data]], np.int64)
    bias = rng.standard_normal(40).astype(np.float32)
    got, _, wanted = _linear(
        rng,
        bits=8,
        block=64,
        num_in=64,
        parts=[40],
        tokens=2,
        slots=slots,
        rows=np.full((2, 0), -1, np.int64),
        scales=addresses,
        bias=bias,
    )
    wanted[1] = wanted[1] * (1 + scales[3:43]) + offsets[3:43]
    assert _close(got, wanted + bias)
    assert allowed


def _attention(rng, *, heads, kv_heads, dim, past, new, norm, capacity=96):
    rows, width = len(past), (heads + 2 * kv_heads) * dim
    qkv = rng.standard_normal((rows * new, width)).astype(np.float32)
    keys, values = (rng.standard_normal((rows, kv_heads, capacity, dim)).astype(np.float16) for _ in range(2))
    angles = rng.random((capacity, dim // 2)).astype(np.float32)
    feeds = {
        "qkv": qkv,
        "k": keys,
        "v": values,
        "seqlens": np.array([each + new - 1 for each in past], np.int32),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
    }
    weights = [rng.random(dim).astype(np.float32) + 0.5 for _ in range(2)]
    if norm:
        feeds |= {"qn": weights[0], "kn": weights[1]}
    allowed = [AllowedMemory(array.ctypes.data, array.nbytes, is_writable=True) for array in (keys, values)]
    before = keys.copy(), values.copy()
    names = ["qkv", "k", "v", "seqlens", "cos", "sin", *(["qn", "kn"] if norm else ["", ""])]
    got = run_operator(
        "SlotAttention",
        feeds,
        names=names,
        num_heads=heads,
        kv_num_heads=kv_heads,
        head_dim=dim,
        epsilon=1e-6,
        scale=dim**-0.5,
    )
    assert allowed
    return (
        got,
        _attend(feeds, before, (heads, kv_heads, dim), past, new, weights if norm else None),
        (keys, values),
        before,
    )


def _prepared(x, weight, cos, sin):
    if weight is not None:
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def _attend(feeds, cache, shape, past, new, weights):
    heads, kv_heads, dim = shape
    result = []
    for row, before in enumerate(past):
        parted = feeds["qkv"][row * new : (row + 1) * new].reshape(new, -1, dim).astype(np.float64)
        places = slice(before, before + new)
        cos, sin = feeds["cos"][places][:, None], feeds["sin"][places][:, None]
        q = _prepared(parted[:, :heads], weights and weights[0], cos, sin)
        k = _prepared(parted[:, heads : heads + kv_heads], weights and weights[1], cos, sin)
        keys = np.concatenate([cache[0][row][:, :before], k.transpose(1, 0, 2)], axis=1)
        values = np.concatenate([cache[1][row][:, :before], parted[:, heads + kv_heads :].transpose(1, 0, 2)], axis=1)
        for place in range(new):
            seen = before + place + 1
            for head in range(heads):
                group = head // (heads // kv_heads)
                scores = keys[group, :seen] @ q[place, head] * dim**-0.5
                shares = np.exp(scores - scores.max())
                result.append(shares @ values[group, :seen] / shares.sum())
    return np.array(result).reshape(len(past) * new, heads * dim)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"),
    [(4, 2, 32), (9, 3, 64), (3, 3, 16), (14, 2, 64), (9, 1, 80), (4, 2, 128), (2, 1, 256)],
)
@pytest.mark.parametrize(("past", "new"), [([0], 1), ([0], 13), ([40], 9), ([3, 17, 60], 1), ([5, 0], 4)])
def test_attention_over_any_cache(heads, kv_heads, dim, past, new, norm):
    rng = np.random.default_rng(3)
    got, wanted, after, before = _attention(rng, heads=heads, kv_heads=kv_heads, dim=dim, past=past, new=new, norm=norm)
    assert np.abs(got - wanted).max() < 5e-3  # keys and values are float16
    for changed, kept in zip(after, before, strict=True):
        for row, length in enumerate(past):
            assert np.array_equal(changed[row, :, :length], kept[row, :, :length])
            assert np.array_equal(changed[row, :, length + new :], kept[row, :, length + new :]), "it wrote elsewhere"


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("width", [1, 16, 100, 3000])
def test_swiglu(tokens, width):
    x = (8 * np.random.default_rng(4).standard_normal((tokens, 2 * width))).astype(np.float32)
    gate, up = x[:, :width].astype(np.float64), x[:, width:]
    wanted = gate / (1 + np.exp(-gate)) * up
    assert np.abs(run_operator("SwiGLU", {"x": x}, names=["x"]) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_addresses_that_the_runtime_did_not_allow_are_refused():
    """A graph comes from a package: what it puts into a tensor must not lead the kernels anywhere."""
    rng = np.random.default_rng(5)
    slots = Slots(rng, [(64, 40)], [8], [np.float16])
    rows = np.zeros((1, 1), np.int64)
    options = {"bits": 4, "block": 32, "num_in": 64, "parts": [40], "tokens": 1, "slots": slots}
    _linear(rng, **options, rows=rows)
    secret = np.ones(4096, np.float32)
    own = slots.table.copy()
    slots.table[0, 0, 0] = secret.ctypes.data
    with pytest.raises(Exception, match="memory that is no adapter's"):
        _linear(rng, **options, rows=rows)
    slots.table[:] = own
    slots.types[0, 0] = 250  # reads behind the end
    with pytest.raises(Exception, match="memory that is no adapter's"):
        _linear(rng, **options, rows=rows)
    slots.types[0, 0] = 8
    slots._allowed.clear()
    with pytest.raises(Exception, match="memory that is no adapter's"):
        _linear(rng, **options, rows=rows)
    with pytest.raises(Exception, match="memory that is no adapter's"):
        _linear(
            rng,
            **{**options, "slots": Slots(rng, [(64, 40)], [], [])},
            scales=np.full((1, 2), secret.ctypes.data, np.int64),
        )


def test_rows_and_lengths_out_of_bounds_are_refused():
    rng = np.random.default_rng(6)
    slots = Slots(rng, [(64, 40)], [8], [np.float16])
    with pytest.raises(Exception, match="not in slot_table"):
        _linear(rng, bits=4, block=32, num_in=64, parts=[40], tokens=1, slots=slots, rows=np.ones((1, 1), np.int64))
    with pytest.raises(Exception, match="does not divide the tokens"):
        _linear(rng, bits=4, block=32, num_in=64, parts=[40], tokens=3, slots=slots, rows=np.zeros((2, 1), np.int64))
    with pytest.raises(Exception, match="outside the cache"):
        _attention(rng, heads=2, kv_heads=1, dim=16, past=[95], new=2, norm=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"bits": 3},
        {"block": 0},
        {"block": 16},
        {"block": 96},
        {"num_in": -64},
        {"num_in": 1 << 62},
        {"num_out": 41},
        {"num_out": 1 << 40},
        {"part0": 39},
        {"part0": -1},
        {"first_linear": 1},
        {"column": 9},
    ],
)
def test_attributes_of_a_forged_graph_are_refused(changes):
    rng = np.random.default_rng(8)
    slots = Slots(rng, [(64, 40)], [8], [np.float16])
    quantized = quantize_matrix(rng.standard_normal((40, 64), dtype=np.float32), bits=4, block=32)
    vector = np.ones(48, np.float32)
    allowed = AllowedMemory(vector.ctypes.data, vector.nbytes)
    feeds = {
        "x": np.ones((1, 64), np.float32),
        "w": quantized.packed,
        "s": quantized.scales,
        "slot_table": slots.table,
        "slot_types": slots.types,
        "row_slots": np.zeros((1, 1), np.int64),
        "row_scales": np.array([[vector.ctypes.data, 0]], np.int64),
    }
    attributes = {"num_in": 64, "num_out": 40, "bits": 4, "block": 32, "first_linear": 0, "column": 0, "part0": 40}
    run_operator("SlotLinear", feeds, names=[*_NAMES, "", ""], **attributes)
    with pytest.raises(Exception, match=r"SlotLinear|num_in|num_out|linears|adapter"):
        run_operator("SlotLinear", feeds, names=[*_NAMES, "", ""], **{**attributes, **changes})
    assert allowed


def test_a_cache_that_is_not_ours_is_not_written():
    cache = np.zeros((1, 1, 8, 16), np.float16)
    feeds = {
        "qkv": np.ones((1, 48), np.float32),
        "k": cache,
        "v": cache.copy(),
        "seqlens": np.zeros(1, np.int32),
        "cos": np.ones((8, 8), np.float32),
        "sin": np.zeros((8, 8), np.float32),
    }
    with pytest.raises(Exception, match="not memory that may be written"):
        run_operator(
            "SlotAttention",
            feeds,
            names=[*feeds, "", ""],
            num_heads=1,
            kv_num_heads=1,
            head_dim=16,
            epsilon=1e-6,
            scale=0.25,
        )
    assert not cache.any()


def test_the_same_on_any_number_of_threads():
    rng = [np.random.default_rng(7) for _ in range(2)]
    results = []
    for threads in (1, 3):
        slots = Slots(rng[len(results)], [(128, 900)], [12], [np.float16])
        results.append(
            _linear(
                rng[len(results)],
                bits=4,
                block=128,
                num_in=128,
                parts=[900],
                tokens=5,
                slots=slots,
                rows=np.zeros((1, 1), np.int64),
                threads=threads,
            )[0]
        )
    assert np.array_equal(*results)
