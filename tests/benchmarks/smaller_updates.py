"""What an expert's update loses when it is made smaller: by rank, by bits, and by rank with a sparse rest ("OSD")."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xpm_build.adapter.methods import CompiledAdapter
from xpm_build.adapter.recompress import spectrum_of

Floats = NDArray[np.float32]
Factors = Callable[[Floats, Floats], tuple[Floats, Floats, float]]
Way = Callable[[Floats, Floats], tuple[Floats, float]]
_GROUP = 32  # numbers per scale in 4 bits
_BYTES_SPARSE = 6  # two 16-bit places and a float16


def losses(adapter: CompiledAdapter) -> None:
    """Print the relative error (Frobenius, over all linears) of each way at about half and a
    quarter of the float16 bytes."""
    print("\n| kept | % of the bytes of float16 | relative error of the update |\n|---|---|---|")
    for name, make in ways(adapter.rank).items():
        kept = squares = whole = full = 0.0
        for a, b in pairs_of(adapter).values():
            wanted = b.T @ a
            got, size = make(a, b)
            kept += size
            full += 2 * (a.size + b.size)
            squares += float(np.square(got - wanted).sum())
            whole += float(np.square(wanted).sum())
        print(f"| {name} | {100 * kept / full:.0f} | {np.sqrt(squares / whole):.4f} |", flush=True)


def pairs_of(adapter: CompiledAdapter) -> dict[str, tuple[Floats, Floats]]:
    """Linear -> (A, B)."""
    names = sorted({name[6:-2] for name in adapter.tensors if name.startswith("slots.")})
    return {name: (adapter.tensors[f"slots.{name}.A"], adapter.tensors[f"slots.{name}.B"]) for name in names}


def factors(rank: int) -> dict[str, Factors]:
    """Name -> function of (A, B) to (A, B as they are kept, their bytes)."""
    half, quarter = rank // 2, rank // 4
    return {
        "float32": lambda a, b: (a, b, 4 * (a.size + b.size)),
        "float16": lambda a, b: (_half(a), _half(b), 2 * (a.size + b.size)),
        "int8, a scale per rank": lambda a, b: (_rounded(a, 127), _rounded(b, 127), _size(a, 8) + _size(b, 8)),
        f"float16 of rank {half}, by SVD": lambda a, b: _low_rank(a, b, half),
        f"int4, a scale per {_GROUP}": lambda a, b: (_four(a), _four(b), _size(a, 4) + _size(b, 4)),
        f"int8 of rank {half}, by SVD": lambda a, b: _low_rank_int8(a, b, half),
        f"float16 of rank {quarter}, by SVD": lambda a, b: _low_rank(a, b, quarter),
    }


def by_rank(ranks: Sequence[int]) -> dict[str, Factors]:
    """float32, and float16 of each rank by SVD."""

    def of(rank: int) -> Factors:
        return lambda a, b: _low_rank(a, b, rank)

    return {"float32": factors(4)["float32"], **{f"float16 of rank {rank}": of(rank) for rank in ranks}}


def ways(rank: int) -> dict[str, Way]:
    """Name -> function of (A, B) to (the update as it is kept, its bytes): factors, and rank with a sparse rest."""
    half, quarter = rank // 2, rank // 4
    found: dict[str, Way] = {name: _multiplied(make) for name, make in factors(rank).items()}
    for kept, total in ((half - 2, half), (half // 2, half), (quarter - 1, quarter)):
        found[f"OSD: rank {kept} by SVD and a sparse rest"] = _with_rest(kept, total)
    return found


def _multiplied(make: Factors) -> Way:
    def way(a: Floats, b: Floats) -> tuple[Floats, float]:
        made_a, made_b, size = make(a, b)
        return _delta(made_a, made_b), size

    return way


def _with_rest(kept: int, total: int) -> Way:
    return lambda a, b: _sparse(a, b, kept, total)


def _delta(a: Floats, b: Floats) -> Floats:
    return b.T @ a


def _half(array: Floats) -> Floats:
    return array.astype(np.float16).astype(np.float32)


def _rounded(array: Floats, levels: int) -> Floats:
    """Symmetric, one scale per row."""
    scale = np.maximum(np.abs(array).max(axis=1, keepdims=True) / levels, 1e-30)
    return (np.rint(array / scale) * scale).astype(np.float32)


def _four(array: Floats) -> Floats:
    return _rounded(array.reshape(-1, _GROUP), 7).reshape(array.shape)


def _size(array: Floats, bits: int) -> float:
    scales = array.shape[0] * 4 if bits == 8 else array.size / _GROUP * 2
    return array.size * bits / 8 + scales


def _low_rank(a: Floats, b: Floats, rank: int) -> tuple[Floats, Floats, float]:
    a, b = spectrum_of([(a, b)]).pair(rank)
    return _half(a), _half(b), 2 * (a.size + b.size)


def _low_rank_int8(a: Floats, b: Floats, rank: int) -> tuple[Floats, Floats, float]:
    a, b = spectrum_of([(a, b)]).pair(rank)
    return _rounded(a, 127), _rounded(b, 127), _size(a, 8) + _size(b, 8)


def _sparse(a: Floats, b: Floats, rank: int, as_rank: int) -> tuple[Floats, float]:
    """Rank ``rank`` and the largest numbers of what it lacks, in the bytes of rank ``as_rank``."""
    kept_a, kept_b, size = _low_rank(a, b, rank)
    kept = _delta(kept_a, kept_b)
    rest = _delta(a, b) - kept
    count = int((as_rank - rank) * 2 * (a.shape[1] + b.shape[1]) / _BYTES_SPARSE)
    places = np.argpartition(np.abs(rest), -count, axis=None)[-count:]
    kept.flat[places] += _half(rest.flat[places])
    return kept, size + _BYTES_SPARSE * count
