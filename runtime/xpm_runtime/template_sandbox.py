"""Jinja within bounds: what a template makes costs its size, a turn of a loop a little, and a rendering
has only so much to spend.

Every value weighs at most what is left when it is made, so that no single operation on values takes long; time is
looked at whenever something is spent. What could make much of little (``"a" * 10**9``, ``9**9**9``, widths,
``replace``) is paid for before it is done. Knows no messages and no tokens.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from xpm_runtime.template_budget import (
    WIDE_FIELD,
    WIDE_FORMAT,
    Budget,
    TooMuchError,
    current,
    formatted_size,
    joined_size,
    replaced_size,
    sizes,
    spend,
    within,
)

_MAX_INTEGER_BITS = 4096
_TURN = 4
_OF_JINJA = ("_loop_vars", "_block_vars")  # what compiled templates hand over with every call
# Filters that look at a value without going through it.
_SHALLOW = frozenset("abs attr count d default first float int items last length random safe".split())
# Filters whose time is not in proportion to what they are given, and methods of texts that make much of little.
_LEFT_OUT = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
_FORBIDDEN_METHODS = frozenset("encode expandtabs maketrans translate".split())


class Template:
    """A compiled template."""

    def __init__(self, source: str, *, units: int, seconds: float) -> None:
        """Compile; any error that Jinja, Python or the budget raises escapes."""
        self._template = within(Budget(units, seconds), lambda: _Environment().from_string(source))

    def render(self, variables: dict[str, Any], *, units: int, seconds: float) -> str:
        """The text; any error that the template raises escapes."""
        return within(Budget(units, seconds), lambda: self._template.render(variables))


def _made(value: Any) -> Any:
    """Pay for a value; of what is made bit by bit, for each bit."""
    if isinstance(value, Iterator):
        return _paid(value)
    spend(value)
    return value


def _paid(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        spend(item)
        yield item


def _turn() -> None:
    current.get().spend(_TURN)


def _join(*parts: Any) -> str:
    """``~``."""
    spend(*parts)
    return "".join(map(str, parts))


def _concat(parts: Iterable[str]) -> str:
    """The output of a block, a macro or the whole template."""
    written = list(parts)
    current.get().spend(sum(map(len, written)))
    return "".join(written)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    spend(value, indent)
    current.get().spend(64 * (indent if isinstance(indent, int) else len(str(indent))))
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return "".join(_paid(encoder.iterencode(value)))


def _limited_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, which pays for what it is given, and for what comes of it."""
    first = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

    @functools.wraps(function)
    def limited(*arguments: Any, **named: Any) -> Any:
        value, others = arguments[first], arguments[first + 1 :]
        if name == "join" and isinstance(value, Iterator):
            value = list(value)
            arguments = (*arguments[:first], value, *others)
        spend(value, *others, *named.values())
        current.get().spend(_extra_cost(name, value, others, named))
        return _made(function(*arguments, **named))

    return limited


def _extra_cost(name: str, value: Any, others: tuple[Any, ...], named: dict[str, Any]) -> int:
    """What a filter may make beyond what it is given, which is paid for already, so that it
    may be looked at as text."""
    counts = sizes([*others, *named.values()])
    if name == "join":
        return joined_size(value, others[0] if others else named.get("d", ""))
    if name == "replace":
        old, new = (*others, *(named[key] for key in ("old", "new") if key in named))[:2]
        return replaced_size(str(value), old, new)
    if name == "indent":
        width = others[0] if others else named.get("width", 4)
        return (1 + str(value).count("\n")) * (width if isinstance(width, int) else len(str(width)))
    if name == "round":  # by a power of ten of so many digits
        return counts**2
    if name == "format":
        return formatted_size(str(value), others or tuple(named.values()), "%", WIDE_FORMAT)
    if name == "sum" and not isinstance((*others[1:2], named.get("start", 0))[0], int | float):
        raise TooMuchError("it adds up what are no numbers")
    return counts


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
            budget = current.get()
            budget.spend(1 + max(count, 0) * budget.weight(value))
        elif operator == "%" and isinstance(left, str):
            spend(left, right)
            arguments = right if isinstance(right, tuple) else (right,)
            current.get().spend(formatted_size(left, arguments, "%", WIDE_FORMAT))
        else:
            spend(left, right)
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
            if name == "join" and len(arguments) == 1 and isinstance(arguments[0], Iterator):
                values = [list(arguments[0])]
                arguments = (values[0],)
            spend(owner, *values)
            extra = sizes(values)
            if name == "join" and arguments:
                extra = joined_size(arguments[0], owner)
            elif name == "replace" and isinstance(owner, str) and len(arguments) >= 2:
                extra = replaced_size(owner, *arguments[:2])
            current.get().spend(extra)
        elif not isinstance(owner, dict):
            current.get().spend(1 + sizes(values))
        return _made(super().call(__context, __obj, *arguments, **named))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatting = super().wrap_str_format(value)
        if formatting is None:
            return None

        def limited(*arguments: Any, **named: Any) -> str:
            given = (*arguments, *named.values())
            spend(value.__self__, *given)
            current.get().spend(formatted_size(str(value.__self__), given, "{", WIDE_FIELD))
            return formatting(*arguments, **named)

        return limited


def _check_integers(operator: str, left: int, right: int) -> None:
    bits = left.bit_length() + right.bit_length()
    if operator == "**":
        bits = left.bit_length() * abs(right)
    if bits > _MAX_INTEGER_BITS:
        raise TooMuchError("it computes with numbers that are too large")
    current.get().spend(1)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(message: str) -> Any:
    raise jinja2.TemplateError(message)
