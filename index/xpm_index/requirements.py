"""A requirement: a name and the versions of it that will do."""

import re
from dataclasses import dataclass

from xpm_index.errors import InvalidName
from xpm_index.names import ExpertName
from xpm_index.versions import ANY, VersionRange

_BARE = re.compile(r"([^@<>=!~^\s]+)\s*([<>=!~^].*)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """``name@range``; both parsers accept the older bare form ``name<=0.9.0`` too."""

    name: ExpertName
    range: VersionRange = ANY

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        text = text.strip()
        if not text:
            raise InvalidName("an empty requirement", hint="write e.g. expert-sql or expert-sql@>=1.0,<2")
        name, at, wanted = text.partition("@")
        if not at and (match := _BARE.fullmatch(text)):
            name, wanted = match[1], match[2]
        return cls(ExpertName.parse(name.strip()), VersionRange.parse(wanted) if wanted.strip() else ANY)

    def __str__(self) -> str:
        return str(self.name) if self.range.text == "*" else f"{self.name}@{self.range}"
