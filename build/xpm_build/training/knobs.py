"""What a knob of training is: how its value is read, what holds without one, where it means
something, and its row in the docs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from xpm_build.errors import TrainingError
from xpm_index.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``values`` says which values there are; ``read`` takes one from a section, or the default that it is given."""

    values: str
    read: Callable[[Fields, str, Any], Any]


def whole(low: int, high: int) -> Kind:
    def read(section: Fields, key: str, default: int) -> int:
        value = section.integer(key, default=default)
        return _required(section, key, value, low <= value <= high, f"{low} to {high}")

    return Kind(values=f"{low} to {high}", read=read)


def _number(values: str, wanted: str, holds: Callable[[float], bool]) -> Kind:
    def read(section: Fields, key: str, default: float) -> float:
        value = section.number(key, default=default)
        return _required(section, key, value, holds(value), wanted)

    return Kind(values=values, read=read)


def _required(section: Fields, key: str, value: Any, holds: bool, wanted: str) -> Any:
    if not holds:
        raise TrainingError(f"{section.at(key)} must be {wanted}", context=f"got {value}")
    return value


def _read_flag(section: Fields, key: str, default: bool) -> bool:
    value = section.raw.get(key)
    if value is not None and not isinstance(value, bool):
        raise TrainingError(f"{section.at(key)} must be true or false", context=f"got {value!r}")
    return default if value is None else value


def one_of(*values: str, refused: Mapping[str, str] | None = None) -> Kind:
    """``refused``: value → why it is not supported."""

    def read(section: Fields, key: str, default: str) -> str:
        value = section.text(key, required=False) or default
        if refused and value in refused:
            raise TrainingError(f"{section.at(key)} {value} is not supported", context=refused[value])
        if value not in (*values, default):
            hint = f"it is one of {', '.join(values)}"
            raise TrainingError(f"{section.at(key)} {value[:40]!r} is unknown", hint=hint)
        return value

    return Kind(values=", ".join(values), read=read)


positive = _number("more than 0", "more than 0", lambda value: value > 0)
at_least_0 = _number("0 or more", "0 or more", lambda value: 0 <= value < 1e6)
share = _number("0 to 1", "between 0 and 1", lambda value: 0 <= value <= 1)
number = _number("a number", "a number", lambda value: True)
flag = Kind(values="true, false", read=_read_flag)
text = Kind(values="a text", read=lambda section, key, default: section.text(key, required=False) or default)
names = Kind(
    values="names of linears",
    read=lambda section, key, default: section.strings(key) if section.raw.get(key) else default,
)
paths = Kind(values="paths of experts' folders", read=lambda section, key, default: section.strings(key) or default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """
    default: what holds if the knob is not given: a value, or a function of the knobs above it, which
    ``shown`` tells in words.
    only: the knob that says whether this one is read, and the values of it for which it is.
    decides: whether what is trained depends on it.
    """

    kind: Kind
    default: Any
    meaning: str
    shown: str = ""
    only: tuple[str, tuple[str, ...]] | None = None
    decides: bool = True

    def read(self, section: Fields, name: str, above: Mapping[str, Any]) -> Any:
        """
        Raises:
            TrainingError: it is given where it has no meaning, or has a value that makes none; names the key path.
        """
        if self.only:
            require_meaning(section, name, *self.only, chosen=above[self.only[0]])
        return self.kind.read(section, name, self.default(above) if callable(self.default) else self.default)

    def row(self, name: str) -> str:
        """A row of the table in docs/reference/training.md."""
        value = self.default
        given = (
            str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
        )
        only = f"for {self.only[0]} {', '.join(filter(None, self.only[1]))}" if self.only else ""
        meaning = "; ".join(each for each in (self.meaning, only) if each)
        return f"| `{name}` | {self.shown or given} | {self.kind.values} | {meaning} |"


def require_meaning(section: Fields, name: str, by: str, values: tuple[str, ...], *, chosen: str) -> None:
    """Refuse a knob that the chosen method, adapter or metric would not read."""
    if section.raw.get(name) not in (None, False) and chosen not in values:
        raise TrainingError(
            f"{section.at(name)} has no meaning with {by} {chosen}",
            hint=f"take it out; it is for {', '.join(filter(None, values))}",
        )


def knob(kind: Kind, default: Any, meaning: str, **more: Any) -> Any:
    """A field of a data class that is read from the manifest: see ``Knob``."""
    return field(metadata={"knob": Knob(kind=kind, default=default, meaning=meaning, **more)})


def knobs_of(settings: type) -> dict[str, Knob]:
    """Name → knob of a data class, in their order."""
    return {each.name: each.metadata["knob"] for each in fields(settings) if "knob" in each.metadata}


def table_of(settings: type) -> str:
    """The table of all knobs, in Markdown."""
    rows = [each.row(name) for name, each in knobs_of(settings).items()]
    return "\n".join(["| knob | default | values | |", "|---|---|---|---|", *rows])
