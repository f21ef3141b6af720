"""Parting a whole number by shares."""

from collections.abc import Mapping


def apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """``count`` parted in proportion to ``shares``, by largest remainders: the parts add up to it.
    Nothing if all shares are 0."""
    total = sum(shares.values())
    if not total:
        return dict.fromkeys(shares, 0)
    exact = {name: count * share / total for name, share in shares.items()}
    parts = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: parts[name] - exact[name])[: count - sum(parts.values())]:
        parts[name] += 1
    return parts
