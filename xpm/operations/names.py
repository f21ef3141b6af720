"""From what people type to what is published."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from xpm.errors import NotFoundError
from xpm_index.names import spellings
from xpm_index.requirements import Requirement

if TYPE_CHECKING:
    from xpm.indexes import Indexes


def published_name(requirement: Requirement, indexes: "Indexes") -> str:
    """The spelling under which an expert is published; raises NotFoundError with what is spelled alike."""
    name = requirement.name.name
    _, entries = indexes.entries(name)
    if not entries:
        hint = did_you_mean(name, indexes.all_names())
        raise NotFoundError(
            f"no index has {name}", hint=hint or "look for it with `xpm search`, or add an index with `xpm index add`"
        )
    if requirement.name.namespace not in (None, entries[0].publisher):
        raise NotFoundError(
            f"{requirement.name.namespace} has not published {entries[0].name}", context=f"{entries[0].publisher} has"
        )
    return entries[0].name


def not_installed(name: str, installed: Iterable[str], *, otherwise: str = "see `xpm list`") -> NotFoundError:
    """The error for a name that an environment does not have; ``otherwise`` is the hint if nothing is spelled alike."""
    return NotFoundError(f"{name} is not installed here", hint=did_you_mean(name, installed) or otherwise)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A question that names what is spelled alike, None if nothing is."""
    alike = difflib.get_close_matches(name, [each for found in known for each in spellings(found)], n=1)
    return f"did you mean {alike[0]}?" if alike else None
