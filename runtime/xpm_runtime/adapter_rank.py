"""Adapters cut to a lower rank: the largest singular values of each linear's update are kept,
and what is lost is known.

A form computes one rank for all linears of an adapter, so each keeps equally many. An update is BᵀA; its singular
values are those of a core of the size of its rank: by QR, Aᵀ = Qₐ Rₐ and Bᵀ = Q_b R_b; by SVD, R_b Rₐᵀ = U S Vᵀ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import CapacityError

Arrays = Mapping[str, NDArray[Any]]
MAX_ERROR = 0.25
"""The most of an update (relative, Frobenius) that is given up for memory; beyond it an expert is left out instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankProfile:
    """What an adapter takes in memory, and what cutting it loses.

    ``errors`` are relative (Frobenius, over all linears), by the rank that is kept, from 0 on; the last is that of the
    whole. Of one that can't be cut they are (0.0,).
    """

    name: str
    fixed_bytes: int
    bytes_per_rank: int
    errors: tuple[float, ...]

    @property
    def rank(self) -> int:
        return len(self.errors) - 1

    @property
    def least_rank(self) -> int:
        """The least that loses no more than is given up for memory."""
        return next(rank for rank, error in enumerate(self.errors) if error <= MAX_ERROR)

    def num_bytes(self, rank: int) -> int:
        return self.fixed_bytes + rank * self.bytes_per_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlan:
    """``ranks``: name → rank of those that act, all of them; ``dropped``: names of those that do
    not, first the first to go."""

    ranks: Mapping[str, int]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def errors_by_rank(a: Arrays, b: Arrays) -> tuple[float, ...]:
    """The relative error of keeping 0, 1, … values of each linear, up to the whole rank."""
    values = [_core(a[name], b[name])[1] for name in a]
    rank = max(len(each) for each in a.values())
    squares = np.square([np.pad(each, (0, rank - len(each))) for each in values], dtype=np.float64)
    lost = np.concatenate([np.cumsum(squares.sum(axis=0)[::-1])[::-1], [0.0]])
    return tuple(np.sqrt(lost / lost[0]).tolist()) if lost[0] > 0 else (0.0,) * len(lost)


def cut(a: Arrays, b: Arrays, rank: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """(A, B) of the best updates of a rank, in the number types that they had."""
    cut_a, cut_b = dict[str, NDArray[Any]](), dict[str, NDArray[Any]]()
    for name in a:
        left, values, right = _core(a[name], b[name])
        root = np.sqrt(values[:rank])[:, np.newaxis]
        missing = ((0, rank - len(root)), (0, 0))  # a linear may be smaller than the rank
        cut_a[name] = np.ascontiguousarray(np.pad(root * right[:, :rank].T, missing), a[name].dtype)
        cut_b[name] = np.ascontiguousarray(np.pad(root * left[:, :rank].T, missing), b[name].dtype)
    return cut_a, cut_b


def plan_ranks(profiles: Sequence[RankProfile], scores: Sequence[float], *, budget: int) -> RankPlan:
    """Make the adapters of a composition fit into bytes.

    1. Ranks are cut where a byte less costs the least of the squared relative errors, each at most ``MAX_ERROR``.
    2. What does not fit so loses the adapter with the lowest score, of equals the last, and 1. begins anew.

    Raises:
        CapacityError: the one that is left does not fit either.
    """
    kept, dropped = list(range(len(profiles))), list[int]()
    while (ranks := _fitting([profiles[each] for each in kept], budget)) is None:
        if len(kept) == 1:
            profile = profiles[kept[0]]
            raise CapacityError(
                f"{profile.name} needs {profile.num_bytes(profile.least_rank) / 1e6:.1f} MB, "
                f"its budget is {budget / 1e6:.1f} MB",
                context=f"below rank {profile.least_rank} of {profile.rank} more than {MAX_ERROR:.0%} of it is lost",
                hint="raise --adapter-memory",
            )
        least = min(reversed(kept), key=lambda each: scores[each])
        kept.remove(least)
        dropped.append(least)
    told = [
        f"{profiles[each].name} acts at rank {rank} of {profiles[each].rank}, which loses "
        f"{profiles[each].errors[rank]:.1%} of it"
        for each, rank in zip(kept, ranks, strict=True)
        if rank < profiles[each].rank
    ]
    told += [f"{profiles[each].name} did not act" for each in dropped]
    return RankPlan(
        ranks={profiles[each].name: rank for each, rank in zip(kept, ranks, strict=True)},
        dropped=tuple(profiles[each].name for each in dropped),
        notes=tuple(f"experts have {budget / 1e6:.1f} MB: {each}" for each in told),
    )


def _fitting(profiles: Sequence[RankProfile], budget: int) -> list[int] | None:
    """A rank for each, None if they do not fit."""
    ranks = [each.rank for each in profiles]
    total = sum(each.num_bytes(each.rank) for each in profiles)
    while total > budget:
        can = [number for number, each in enumerate(profiles) if ranks[number] > each.least_rank]
        if not can:
            return None
        cheapest = min(can, key=lambda number: _price(profiles[number], ranks[number]))
        ranks[cheapest] -= 1
        total -= profiles[cheapest].bytes_per_rank
    return ranks


def _price(profile: RankProfile, rank: int) -> float:
    """What a byte costs that one rank less saves."""
    return (profile.errors[rank - 1] ** 2 - profile.errors[rank] ** 2) / profile.bytes_per_rank


def _core(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(left (out, k), values (k,), right (in, k)) of BᵀA, k its rank; float32."""
    basis_a, core_a = np.linalg.qr(a.T.astype(np.float32))
    basis_b, core_b = np.linalg.qr(b.T.astype(np.float32))
    left, values, right = np.linalg.svd(core_b @ core_a.T, full_matrices=False)
    return basis_b @ left, values, basis_a @ right.T
