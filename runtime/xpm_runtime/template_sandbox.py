"""Jinja within bounds: what a template makes costs its size, a turn of a loop a little, and a rendering has only so much to spend.

Every value weighs at most what is left when it is made, so that no single operation on values takes long; time is looked at
whenever something is spent. What could make much of little (``"a" * 10**9``, ``9**9**9``, widths, ``replace``) is paid for before
it is done. Knows no messages and no tokens.
"""

import functools
import json
import re
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

_T = TypeVar("_T")
_MAX_INTEGER_BITS = 4096
_TURN = 4
_PART = 8
_OF_JINJA = ("_loop_vars", "_block_vars")  # what compiled templates hand over with every call
_CONTAINERS = (list, tuple, set, frozenset, range, KeysView, ValuesView, ItemsView)
# Filters that look at a value without going through it.
_SHALLOW = frozenset("abs attr count d default first float int items last length random safe".split())
# Filters whose time is not in proportion to what they are given, and methods of texts that make much of little.
_LEFT_OUT = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
_FORBIDDEN_METHODS = frozenset("encode expandtabs maketrans translate".split())
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{5})")
_WIDE_FIELD = re.compile(r"\{[^{}]*(?:\{|\d{5})")


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
        """Characters and parts of a value, counted as often as writing it out would; counting ends where nothing is left."""
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


_current: ContextVar[Budget] = ContextVar("template_budget")


class Template:
    """A compiled template."""

    def __init__(self, source: str, *, units: int, seconds: float) -> None:
        """Compile; any error that Jinja, Python or the budget raises escapes."""
        self._template = _within(Budget(units, seconds), lambda: _Environment().from_string(source))

    def render(self, variables: dict[str, Any], *, units: int, seconds: float) -> str:
        """The text; any error that the template raises escapes."""
        return _within(Budget(units, seconds), lambda: self._template.render(variables))


def _within(budget: Budget, work: Callable[[], _T]) -> _T:
    token = _current.set(budget)
    try:
        return work()
    finally:
        _current.reset(token)


def _spend(*values: Any, extra: int = 0) -> None:
    budget = _current.get()
    budget.spend(1 + extra + sum(budget.weight(value) for value in values))


def _made(value: Any) -> Any:
    """Pay for a value; of what is made bit by bit, for each bit."""
    if isinstance(value, Iterator):
        return _paid(value)
    _spend(value)
    return value


def _paid(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        _spend(item)
        yield item


def _turn() -> None:
    _current.get().spend(_TURN)


def _sizes(arguments: Iterable[Any]) -> int:
    """Whole numbers among arguments may be widths and counts; they cost what they say."""
    return sum(abs(each) for each in arguments if isinstance(each, int))


def _join(*parts: Any) -> str:
    """``~``."""
    _spend(*parts)
    return "".join(map(str, parts))


def _concat(parts: Iterable[str]) -> str:
    """The output of a block, a macro or the whole template."""
    written = list(parts)
    _current.get().spend(sum(map(len, written)))
    return "".join(written)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    _spend(value, extra=64 * (indent if isinstance(indent, int) else len(str(indent))))
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return "".join(_paid(encoder.iterencode(value)))


def _join_cost(items: Any, separator: Any) -> None:
    _spend(items, extra=len(str(separator)) * len(items) if hasattr(items, "__len__") else 0)


def _replace_cost(text: str, old: Any, new: Any) -> None:
    _spend(text, extra=text.count(str(old)) * len(str(new)))


def _format_cost(text: str, arguments: Any, mark: str, wide: re.Pattern[str]) -> None:
    if wide.search(text):
        raise TooMuchError("it formats with a width of its own")
    budget = _current.get()
    _spend(text, extra=(1 + text.count(mark)) * budget.weight(arguments) + _sizes(arguments))


def _limited_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, which pays for what it is given, and for what comes of it."""
    first = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

    @functools.wraps(function)
    def limited(*arguments: Any, **named: Any) -> Any:
        value, others = arguments[first], arguments[first + 1 :]
        if name == "join" and isinstance(value, Iterator):
            value = list(value)
            arguments = (*arguments[:first], value, *others)
        if name == "join":
            _join_cost(value, others[0] if others else named.get("d", ""))
        elif name == "replace" and len(others) >= 2:
            _replace_cost(str(value), others[0], others[1])
        elif name == "indent":
            width = others[0] if others else named.get("width", 4)
            _spend(value, extra=(1 + str(value).count("\n")) * (width if isinstance(width, int) else len(str(width))))
        elif name == "round":  # by a power of ten of so many digits
            _spend(value, extra=_sizes([*others, *named.values()]) ** 2)
        elif name == "format":
            _format_cost(str(value), others or tuple(named.values()), "%", _WIDE_FORMAT)
        elif name == "sum" and not isinstance((*others[1:2], named.get("start", 0))[0], int | float):
            raise TooMuchError("it adds up what are no numbers")
        else:
            _spend(value, *others, *named.values(), extra=_sizes([*others, *named.values()]))
        return _made(function(*arguments, **named))

    return limited


class _Limits(NodeTransformer):
    """Puts what spends into a template where Jinja has no place for it: literals, ``~`` and the turns of loops."""

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        return self._calling("paid_value", [self.generic_visit(node)], node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        return self._calling("paid_value", [self.generic_visit(node)], node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if node.ctx != "load" else self._calling("paid_value", [node], node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._calling("paid_join", node.nodes, node)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        turn = self._calling("paid_turn", [], node)
        node.body = [nodes.ExprStmt(turn, lineno=node.lineno), *node.body]
        return node

    def _calling(self, name: str, arguments: list[Any], node: nodes.Node) -> nodes.Call:
        return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """``{% generation %}``, which marks an assistant's answers for training, and changes nothing in the text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """As Transformers sets Jinja up for chat templates, within the current budget."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])
    paid_value = staticmethod(_made)
    paid_join = staticmethod(_join)
    paid_turn = staticmethod(_turn)
    concat = staticmethod(_concat)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            optimized=False,
            finalize=_made,
        )
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        del self.globals["lipsum"]
        for name in _LEFT_OUT:
            del self.filters[name]
        self.filters["tojson"] = _tojson
        for name, function in self.filters.items():
            if name not in _SHALLOW and name != "tojson":
                self.filters[name] = _limited_filter(name, function)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Limits().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            _check_integers(operator, left, right)
        elif operator == "*" and (isinstance(left, int) or isinstance(right, int)):
            count, value = (left, right) if isinstance(left, int) else (right, left)
            budget = _current.get()
            budget.spend(1 + max(count, 0) * budget.weight(value))
        elif operator == "%" and isinstance(left, str):
            _format_cost(left, right if isinstance(right, tuple) else (right,), "%", _WIDE_FORMAT)
        else:
            _spend(left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *arguments: Any, **named: Any) -> Any:  # noqa: N805
        if any(__obj is each for each in (_made, _join, _turn)):
            return __obj(*arguments)
        values = [*arguments, *(value for key, value in named.items() if key not in _OF_JINJA)]
        owner = getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "")
        if isinstance(owner, str | bytes):
            if name in _FORBIDDEN_METHODS:
                raise TooMuchError(f"it calls {name}() of a text")
            if name == "join" and arguments:
                arguments = (list(arguments[0]) if isinstance(arguments[0], Iterator) else arguments[0], *arguments[1:])
                _join_cost(arguments[0], owner)
            elif name == "replace" and isinstance(owner, str) and len(arguments) >= 2:
                _replace_cost(owner, arguments[0], arguments[1])
            else:
                _spend(owner, *values, extra=_sizes(values))
        elif not isinstance(owner, dict):
            _current.get().spend(1 + _sizes(values))
        return _made(super().call(__context, __obj, *arguments, **named))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatting = super().wrap_str_format(value)
        if formatting is None:
            return None

        def limited(*arguments: Any, **named: Any) -> str:
            _format_cost(str(value.__self__), (*arguments, *named.values()), "{", _WIDE_FIELD)
            return formatting(*arguments, **named)

        return limited


def _check_integers(operator: str, left: int, right: int) -> None:
    bits = left.bit_length() + right.bit_length()
    if operator == "**":
        bits = left.bit_length() * abs(right)
    if bits > _MAX_INTEGER_BITS:
        raise TooMuchError("it computes with numbers that are too large")
    _current.get().spend(1)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(message: str) -> Any:
    raise jinja2.TemplateError(message)
