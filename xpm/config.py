"""``config.toml`` of the home: what a user prefers. Every setting has a type, bounds, a default and a line of meaning.

``XPM_<SECTION>_<NAME>`` in the environment goes before the file.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xpm.errors import UsageError
from xpm.files import write_atomically
from xpm.toml_file import read_toml, write_toml

Value = bool | int | str
CONFIG_FILE = "config.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``choices`` are the texts allowed; ``low`` and ``high`` bound a number."""

    default: Value
    meaning: str
    low: int = 0
    high: int = 1 << 30
    choices: tuple[str, ...] = ()

    def parse(self, text: str, *, name: str) -> Value:
        """The value that a text stands for; raises UsageError."""
        if isinstance(self.default, bool):
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise UsageError(f"{name} is {text[:40]!r}", hint="it is true or false")
        if isinstance(self.default, int):
            if text.isascii() and text.isdigit() and self.low <= int(text) <= self.high:
                return int(text)
            raise UsageError(f"{name} is {text[:40]!r}", hint=f"it is a whole number from {self.low} to {self.high}")
        if self.choices and text not in self.choices:
            raise UsageError(f"{name} is {text[:40]!r}", hint=f"it is one of {', '.join(self.choices)}")
        return text


DEVICES = ("auto", "cpu", "cuda", "migraphx", "directml", "coreml", "webgpu", "openvino")
"""The engine's ``DEVICES``, which is not imported for the sake of its names; a test compares them."""
SETTINGS: Mapping[str, Setting] = {
    "index.ttl_hours": Setting(
        default=24, high=8760, meaning="fetch an index again before resolving if it was not for so long"
    ),
    "network.jobs": Setting(default=4, low=1, high=16, meaning="how many archives are fetched at a time"),
    "network.offline": Setting(default=False, meaning="open no socket, as --offline does"),
    "router.embedder": Setting(
        default="", meaning="a folder that `xpm build embedder` wrote; heads that were trained with it use it"
    ),
    "run.device": Setting(
        default="auto",
        choices=DEVICES,
        meaning="what experts run on: a provider of ONNX Runtime; `xpm doctor --device` says whether it may be",
    ),
    "run.threads": Setting(default=0, high=1024, meaning="CPU threads of a run; 0 for all cores"),
}


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one user; ``values`` are those of the file."""

    values: Mapping[str, Value]

    @classmethod
    def read(cls, root: Path) -> "Config":
        """Read the home's config.toml; raises UsageError with the key path."""
        path = root / CONFIG_FILE
        if not path.is_file():
            return cls({})
        fields, values = read_toml(path, error=UsageError), {}
        for section in fields.raw:
            inner = fields.object(section)
            for name in inner.raw:
                key = inner.at(name)
                value = inner.raw[name]
                values[key] = setting(key).parse(
                    str(value).lower() if isinstance(value, bool) else str(value), name=key
                )
        return cls(values)

    def get(self, key: str) -> Value:
        """A setting's value: the environment's, else the file's, else the default."""
        found = setting(key)
        variable = "XPM_" + key.upper().replace(".", "_")
        if (text := os.environ.get(variable)) is not None:
            return found.parse(text, name=variable)
        return self.values.get(key, found.default)

    def number(self, key: str) -> int:
        return int(self.get(key))

    def set(self, root: Path, key: str, text: str | None) -> None:
        """Write a setting, or drop it if ``text`` is None; raises UsageError."""
        values = {name: value for name, value in self.values.items() if name != key}
        found = setting(key)
        if text is not None:
            values[key] = found.parse(text, name=key)
        document: dict[str, dict[str, Value]] = {}
        for name, value in sorted(values.items()):
            section, _, leaf = name.partition(".")
            document.setdefault(section, {})[leaf] = value
        write_atomically(root / CONFIG_FILE, write_toml(document))


def setting(key: str) -> Setting:
    """A known setting; raises UsageError with what is spelled alike."""
    if key not in SETTINGS:
        alike = difflib.get_close_matches(key, SETTINGS, n=1)
        hint = f"did you mean {alike[0]}?" if alike else "see `xpm config list`"
        raise UsageError(f"there is no setting {key[:80]!r}", hint=hint)
    return SETTINGS[key]
