"""The errors of one machine's decisions; the formats' own are in ``xpm_index.errors``."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from xpm_index.errors import FULL, DiskFullError, XpmError


@runtime_checkable
class ExpectedError(Protocol):
    """What every expected failure carries: XpmError and BuildError, and EngineError, which imports neither.

    ``code`` is stable and machine-readable, ``exit_code`` is what the command line returns; ``message`` says what and
    where, ``context`` why, ``hint`` what to do.
    """

    code: str
    exit_code: int
    message: str
    context: str | None
    hint: str | None


class UsageError(XpmError):
    code = "usage"
    exit_code = 2


class NotFoundError(XpmError):
    """A name that no index, environment or key folder has."""

    code = "not-found"


class ProjectError(XpmError):
    """xpm.toml is malformed."""

    code = "invalid-project"
    exit_code = 2


class LockfileError(XpmError):
    """xpm.lock is malformed, absent where it is needed, or out of date where it may not change."""

    code = "lockfile"
    exit_code = 3


class ResolutionError(XpmError):
    """No set of versions satisfies every requirement.

    ``proof`` holds its sentences, ``graph`` the same for machines, ``unknown`` the names that no index has.
    """

    code = "resolution"
    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        context: str | None = None,
        hint: str | None = None,
        proof: tuple[str, ...] = (),
        graph: Mapping[str, Any] | None = None,
        unknown: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, context=context, hint=hint)
        self.proof = proof
        self.graph = graph or {}
        self.unknown = unknown
        self.suggestions: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` adds to the error."""
        ways = [{"command": command, "effect": effect} for command, effect in self.suggestions]
        return {"proof": list(self.proof), "graph": self.graph, "suggestions": ways}


class BaseMismatchError(ResolutionError):
    """An expert has no archive for the base in use."""

    code = "base-mismatch"
    exit_code = 4


class FetchError(XpmError):
    code = "fetch"
    exit_code = 7


class StoreError(XpmError):
    code = "store"


def unwritable(what: str, error: OSError, *, hint: str = "check your rights") -> XpmError:
    """The error for a file of ours that could not be written (or read): that the disk is full, if it is that."""
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return DiskFullError(what, context=f"{error.filename}: {reason}" if error.filename else reason)
    return StoreError(what, context=str(error) if error.filename else reason, hint=hint)


class BusyError(XpmError):
    """Another process works on the same folder."""

    code = "busy"


class MissingExtraError(XpmError):
    """A command needs packages that are not installed."""

    code = "missing-extra"
