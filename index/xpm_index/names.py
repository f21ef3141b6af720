"""Names of experts, bases and publishers.

``expert-sql`` and ``sql`` are the same expert: people type the short form, packages carry the one they were built with.
"""

import re
from dataclasses import dataclass

from xpm_index.errors import InvalidName

MAX_NAME_LENGTH = 64
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_PREFIX = "expert-"


def validate_name(name: str, *, what: str = "name") -> str:
    """Return ``name`` if it is well formed.

    Raises:
        InvalidName: it is empty, too long, or has a character other than ``a-z``, ``0-9`` and inner hyphens.
    """
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise InvalidName(
            f"{name[:80]!r} is not a valid {what}",
            hint=f"use a-z, 0-9 and hyphens inside, at most {MAX_NAME_LENGTH} characters",
        )
    return name


@dataclass(frozen=True, slots=True)
class ExpertName:
    """A name with an optional publisher namespace: ``acme/expert-sql``."""

    name: str
    namespace: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ExpertName":
        namespace, slash, name = text.rpartition("/")
        return cls(validate_name(name), validate_name(namespace, what="publisher") if slash else None)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def spellings(self) -> tuple[str, str]:
        """The two names this one may stand for, the typed one first."""
        return spellings(self.name)


def spellings(name: str) -> tuple[str, str]:
    """``sql`` → ``("sql", "expert-sql")`` and the other way round."""
    return (name, name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else _PREFIX + name)
