"""Which values of a field are kept out of training, decided by the value and a seed alone.

So two data sets, a base's corpus and an expert's, made apart and at other times, keep out the same
identifiers and phrasings.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """``shares`` maps a field of a row (its value a text or a list of texts) to the share of
    its values that is kept out."""

    seed: int
    shares: Mapping[str, float] = field(default_factory=dict)

    def holds(self, name: str, value: str) -> bool:
        """Whether ``value`` of the field ``name`` is kept out of training."""
        digest = hashlib.sha256(f"{self.seed}/{name}/{value}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < self.shares.get(name, 0.0)

    def held_fields(self, row: Mapping[str, Any]) -> frozenset[str]:
        """The fields of a row that have a value which is kept out."""
        return frozenset(name for name in self.shares if any(self.holds(name, value) for value in values_of(row, name)))


def values_of(row: Mapping[str, Any], name: str) -> list[str]:
    """The values of a field: one, several or none."""
    value = row.get(name)
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
