"""What a chat template may spend while it is rendered, and what things cost. Knows no Jinja but its
namespaces and its errors."""

import re
import time
from collections.abc import Callable, ItemsView, Iterable, KeysView, ValuesView
from contextvars import ContextVar
from typing import Any, TypeVar

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

_T = TypeVar("_T")
_PART = 8
_CONTAINERS = (list, tuple, set, frozenset, range, KeysView, ValuesView, ItemsView)
WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{5})")
WIDE_FIELD = re.compile(r"\{[^{}]*(?:\{|\d{5})")


class TooMuchError(SecurityError):
    """A template does more work, makes more text or takes longer than a prompt can need."""


class Budget:
    """What one rendering may still spend: characters made, and turns of loops, until a time."""

    def __init__(self, units: int, seconds: float) -> None:
        self._left = units
        self._end = time.monotonic() + seconds

    def spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise TooMuchError("it makes more than a prompt can need")
        self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() > self._end:
            raise TooMuchError("it takes too long")

    def weight(self, value: Any) -> int:
        """Characters and parts of a value, counted as often as writing it out would; counting
        ends where nothing is left."""
        total, todo = 0, [value]
        while todo and total <= self._left:
            each = todo.pop()
            self._check_time()
            total += _PART
            if isinstance(each, str | bytes | range):
                total += len(each)
            elif isinstance(each, dict):
                todo += [*each.keys(), *each.values()]
            elif isinstance(each, Namespace):
                todo.append(each._Namespace__attrs)
            elif isinstance(each, _CONTAINERS):
                todo += each
        return total


current: ContextVar[Budget] = ContextVar("template_budget")


def within(budget: Budget, work: Callable[[], _T]) -> _T:
    token = current.set(budget)
    try:
        return work()
    finally:
        current.reset(token)


def spend(*values: Any) -> None:
    budget = current.get()
    budget.spend(1 + sum(budget.weight(value) for value in values))


def sizes(arguments: Iterable[Any]) -> int:
    """Whole numbers among arguments may be widths and counts; they cost what they say."""
    return sum(abs(each) for each in arguments if isinstance(each, int))


def joined_size(items: Any, separator: Any) -> int:
    return len(str(separator)) * len(items) if hasattr(items, "__len__") else 0


def replaced_size(text: str, old: Any, new: Any) -> int:
    return text.count(str(old)) * len(str(new))


def formatted_size(text: str, arguments: Any, mark: str, wide: re.Pattern[str]) -> int:
    if wide.search(text):
        raise TooMuchError("it formats with a width of its own")
    return (1 + text.count(mark)) * current.get().weight(arguments) + sizes(arguments)
