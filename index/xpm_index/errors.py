"""The errors of the formats. Each says what and where (message), why (context) and what to do (hint)."""

import errno


class XpmError(Exception):
    """Base of every expected failure.

    ``code`` is stable and machine-readable, ``exit_code`` is what the command line returns.
    """

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, context: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint


class InvalidName(XpmError):
    code = "invalid-name"
    exit_code = 2


class InvalidVersion(XpmError):
    code = "invalid-version"
    exit_code = 2


class ManifestError(XpmError):
    """A manifest is malformed; the message carries the key path."""

    code = "invalid-manifest"
    exit_code = 11


class IndexFormatError(XpmError):
    """An entry, a publisher file or an index's layout is malformed."""

    code = "invalid-index"
    exit_code = 6


class IntegrityError(XpmError):
    """Bytes are not the bytes that were promised."""

    code = "digest-mismatch"
    exit_code = 6


class ArchiveError(IntegrityError):
    """An archive is not in the one form a package may have."""

    code = "invalid-archive"


class SignatureError(XpmError):
    """A signature is missing, of an unknown scheme, or does not verify."""

    code = "bad-signature"
    exit_code = 5


class AttestationError(XpmError):
    """A signed statement about a package (its provenance, a model's signature) is malformed,
    foreign, or of other files."""

    code = "bad-attestation"
    exit_code = 5


class TrustError(XpmError):
    """A signature is genuine, but by nobody who may make it."""

    code = "untrusted"
    exit_code = 5


class StaleIndexError(TrustError):
    """An index's metadata has expired: it may be kept from the client that there is something newer."""

    code = "stale-index"


class KeyFileError(XpmError):
    code = "invalid-key"
    exit_code = 5


class GitError(XpmError):
    code = "git"
    exit_code = 7


class NoRepositoryError(GitError):
    """There is no repository at an address, none with a commit, or none that may be read without a login."""


FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
"""The numbers of the OSErrors that say that a disk has no room."""


class DiskFullError(XpmError):
    """There is no room left on a disk; ``message`` says for what."""

    code = "disk-full"

    def __init__(self, message: str, *, context: str | None = None) -> None:
        hint = "free some space (`xpm gc` and `xpm cache clean` do), or set XPM_HOME to a folder on another disk"
        super().__init__(f"{message}: the disk is full", context=context, hint=hint)


class PackagingError(XpmError):
    code = "packaging"
    exit_code = 12
