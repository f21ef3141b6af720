"""The errors of one machine's decisions; the formats' own are in ``xpm_index.errors``."""

from xpm_index.errors import XpmError


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
    """No set of versions satisfies every requirement."""

    code = "resolution"
    exit_code = 3


class BaseMismatchError(XpmError):
    """An expert has no archive for the base in use."""

    code = "base-mismatch"
    exit_code = 4


class FetchError(XpmError):
    code = "fetch"
    exit_code = 7


class StoreError(XpmError):
    code = "store"


class MissingExtraError(XpmError):
    """A command needs packages that are not installed."""

    code = "missing-extra"
