"""What a manifest claims of quality, with intervals: a share of cases without its interval says little."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_Z95 = 1.959963984540054
_MAX_CASES = 10**9
_MAX_ROWS = 40
_RESTATED = ("benchmark_score", "base_model_score", "test_queries", "improvement_percent")


@dataclass(frozen=True, slots=True)
class Share:
    """``right`` of ``cases``, 0 to 1, with its 95 % interval by Wilson."""

    right: float
    low: float
    high: float

    @classmethod
    def of(cls, right: float, cases: int) -> "Share":
        z2 = _Z95**2 / cases
        middle = (right + z2 / 2) / (1 + z2)
        half = _Z95 * math.sqrt(right * (1 - right) / cases + z2 / (4 * cases)) / (1 + z2)
        return cls(right, max(0.0, middle - half), min(1.0, middle + half))

    def to_dict(self) -> dict[str, float]:
        return {"right": round(self.right, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """A circle of cases that an expert was judged on, and what the base alone does there, if that was measured."""

    name: str
    cases: int
    expert: Share
    base: Share | None

    def to_dict(self) -> dict[str, Any]:
        base = self.base.to_dict() if self.base else None
        return {"name": self.name, "cases": self.cases, "expert": self.expert.to_dict(), "base": base}


def circles_of(metrics: Mapping[str, Any]) -> list[Circle]:
    """The circles that ``xpm validate`` wrote; what is not of its form is passed over."""
    circles = metrics.get("circles")
    found = []
    for name, each in list(circles.items())[:_MAX_ROWS] if isinstance(circles, dict) else ():
        cases = each.get("cases") if isinstance(each, dict) else None
        if not isinstance(cases, int) or isinstance(cases, bool) or not 0 < cases <= _MAX_CASES:
            continue
        right, base = _share(each.get("right")), _share(each.get("base"))
        if right is not None:
            beside = Share.of(base, cases) if base is not None else None
            found.append(Circle(name=str(name), cases=cases, expert=Share.of(right, cases), base=beside))
    return found


def claims_of(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Everything else that a manifest says of quality, as it is; without what its circles say better."""
    passed_over = {"circles", *(_RESTATED if circles_of(metrics) else ())}
    found = flattened({key: value for key, value in metrics.items() if key not in passed_over})
    return [{"key": key, "value": value} for key, value in found[:_MAX_ROWS]]


def flattened(value: Any, path: str = "") -> list[tuple[str, str]]:
    """(key path, text) of everything in a document; a list of plain values is one text."""
    if isinstance(value, dict):
        inner = [flattened(each, f"{path}.{key}" if path else str(key)) for key, each in value.items()]
        return [each for rows in inner for each in rows]
    if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        return [each for number, item in enumerate(value) for each in flattened(item, f"{path}[{number}]")]
    if isinstance(value, list):
        return [(path, ", ".join(map(_text, value)))]
    return [(path, _text(value))]


def _text(value: Any) -> str:
    return {True: "yes", False: "no", None: ""}[value] if value is None or isinstance(value, bool) else str(value)


def _share(per_cent: Any) -> float | None:
    number = isinstance(per_cent, int | float) and not isinstance(per_cent, bool) and 0 <= per_cent <= 100
    return per_cent / 100 if number else None
