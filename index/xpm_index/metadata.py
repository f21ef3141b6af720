"""The metadata by which an index vouches for its files: The Update Framework (TUF), kept in the index itself.

Owns which role vouches for what, and reads it without verifying; ``xpm_index.verified`` is the client's side,
``xpm_index.metadata_editor`` the maintainer's.

=============  =======  =================================================================================
root           offline  the keys of the roles below; a threshold of its own keys
targets        offline  ``index.json`` and ``publishers/*``
entries        offline  nothing itself: splits ``entries/*/*`` and ``reviews/*/*`` into bins by the hash of the path
bins-…         online   the entry and review files of one bin
snapshot       online   the versions of all of the above: no mixing of old and new
timestamp      online   the version of the snapshot, for a few weeks: no freezing
=============  =======  =================================================================================
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, SuccinctRoles
from tuf.api.serialization import DeserializationError

from xpm_index.errors import IndexFormatError
from xpm_index.layout import ENTRIES, metadata_path

BINS = "bins"
EPOCH = "x-xpm-epoch"
SIGNED_ONLINE = ("snapshot", "timestamp")

Read = Callable[[str], bytes | None]
"""The file at a path of the index, or None."""


def parse_metadata(read: Read, name: str) -> Metadata[Any]:
    """Parse a role's file, of the root the newest; raises IndexFormatError. Nothing is verified."""
    path = metadata_path(name) if name != "root" else newest_root(read)
    data = read(path)
    if data is None:
        raise IndexFormatError(f"the index has no {path}", hint="it was not made with `xpm index init`")
    try:
        return Metadata.from_bytes(data)
    except (DeserializationError, RepositoryError, ValueError) as error:
        raise IndexFormatError(f"{path} is malformed", context=str(error)[:200]) from error


def targets_in(data: bytes | None, path: str) -> set[str]:
    """The paths that a bin's file lists; raises IndexFormatError. Nothing is verified."""
    try:
        return set(json.loads(data or b"")["signed"]["targets"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise IndexFormatError(
            f"{path} is malformed", hint="the index is damaged or was altered: tell its maintainer"
        ) from error


def promised(read: Read) -> set[str]:
    """Every path that the metadata vouches for; raises IndexFormatError. Nothing is verified."""
    names = ("targets", *bin_names(read))
    return {path for name in names for path in targets_in(read(metadata_path(name)), metadata_path(name))}


def metadata_files(read: Read) -> set[str]:
    """The paths of all metadata that an index has to have, and of its roots."""
    names = ("targets", ENTRIES, *SIGNED_ONLINE, *bin_names(read))
    return {*roots(read), *(metadata_path(name) for name in names)}


def bin_names(read: Read) -> list[str]:
    return list(bins_of(parse_metadata(read, ENTRIES)).get_roles())


def bins_of(entries: Metadata[Any]) -> SuccinctRoles:
    """The bins that the entries are split into; raises IndexFormatError if they are not."""
    delegations = entries.signed.delegations
    if delegations is None or delegations.succinct_roles is None:
        raise IndexFormatError(f"{metadata_path(ENTRIES)} has no bins")
    bins: SuccinctRoles = delegations.succinct_roles
    return bins


def newest_root(read: Read) -> str:
    """The path of the root with the highest version; the roots are numbered without gaps."""
    version = 1
    while read(metadata_path("root", version + 1)) is not None:
        version += 1
    return metadata_path("root", version)


def epoch_of(root: Root) -> int:
    epoch = root.unrecognized_fields.get(EPOCH, 0)
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise IndexFormatError(f"{EPOCH} of the root is not a whole number")
    return epoch


def now_utc() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def roots(read: Read) -> Mapping[str, bytes]:
    """Every root of the index, path → bytes, oldest first."""
    found: dict[str, bytes] = {}
    version = 1
    while (data := read(metadata_path("root", version))) is not None:
        found[metadata_path("root", version)] = data
        version += 1
    return found
