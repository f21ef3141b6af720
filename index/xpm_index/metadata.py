"""The metadata by which an index vouches for its files: The Update Framework (TUF), kept in the index itself.

Owns which role vouches for what, and the maintainer's side of it; ``xpm_index.verified`` is the client's.

=============  =======  =================================================================================
root           offline  the keys of the roles below; a threshold of its own keys
targets        offline  ``index.json`` and ``publishers/*``
entries        offline  nothing itself: splits ``entries/*/*`` into bins by the hash of the path
bins-…         online   the entry files of one bin
snapshot       online   the versions of all of the above: no mixing of old and new
timestamp      online   the version of the snapshot, for a few weeks: no freezing
=============  =======  =================================================================================

Invariant: ``MetadataEditor.sign`` returns files that, committed together with the changed targets, a client accepts.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from xpm_index.errors import IndexFormatError, KeyFileError, TrustError
from xpm_index.keys import PublicKey
from xpm_index.layout import ENTRIES, METADATA, metadata_path
from xpm_index.tuf_keys import Keyring, to_tuf_key

ROLES = ("root", "targets", "online")
BINS = "bins"
_EPOCH = "x-xpm-epoch"
_LIFETIME_DAYS = {"root": 730, "targets": 365, ENTRIES: 365, BINS: 365, "snapshot": 365, "timestamp": 30}
_SIGNED_ONLINE = ("snapshot", "timestamp")

Read = Callable[[str], bytes | None]
"""The file at a path of the index, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """The public keys of a new index. ``threshold`` is how many of the root's must sign a new root."""

    root: Sequence[PublicKey]
    targets: PublicKey
    online: PublicKey
    threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleState:
    """One role as it stands, for people."""

    name: str
    version: int
    expires: datetime
    key_ids: tuple[str, ...]
    threshold: int


class MetadataEditor:
    """An index's metadata on its way from one commit to the next; nothing is written here."""

    def __init__(self, read: Read, *, now: datetime) -> None:
        self._read = read
        self._now = now
        self._roles: dict[str, Metadata[Any]] = {}
        self._changed: set[str] = set()
        self._earlier_root: Root | None = None

    @classmethod
    def create(cls, keys: RoleKeys, *, bin_bits: int, now: datetime) -> "MetadataEditor":
        """Metadata of an empty index; every role is to be signed.

        Raises:
            KeyFileError: the threshold can't be met by the root's keys.
        """
        if not 1 <= keys.threshold <= len({key.key_id for key in keys.root}):
            raise KeyFileError(f"{len(keys.root)} root keys can't make a threshold of {keys.threshold}")
        editor = cls(lambda path: None, now=now)
        root, targets, bins = Root(consistent_snapshot=False), Targets(), Targets()
        for key in keys.root:
            root.add_key(to_tuf_key(key), "root")
        root.roles["root"].threshold = keys.threshold
        root.add_key(to_tuf_key(keys.targets), "targets")
        for role in _SIGNED_ONLINE:
            root.add_key(to_tuf_key(keys.online), role)
        targets.delegations = Delegations(
            {keys.targets.key_id: to_tuf_key(keys.targets)},
            {ENTRIES: DelegatedRole(ENTRIES, [keys.targets.key_id], 1, True, paths=[f"{ENTRIES}/*/*"])},
        )
        bins.delegations = Delegations(
            {keys.online.key_id: to_tuf_key(keys.online)},
            succinct_roles=SuccinctRoles([keys.online.key_id], 1, bin_bits, BINS),
        )
        snapshot = Snapshot(meta={})
        for name, signed in (("root", root), ("targets", targets), (ENTRIES, bins), ("snapshot", snapshot)):
            editor._roles[name] = Metadata(cast(Any, signed))
        editor._roles["timestamp"] = Metadata(Timestamp())
        for name in editor._bin_names():
            editor._roles[name] = Metadata(Targets())
        for metadata in editor._roles.values():
            metadata.signed.version = 0
        editor._changed = set(editor._roles)
        return editor

    # Changes

    def set_file(self, path: str, data: bytes) -> None:
        """Vouch for ``data`` at ``path``."""
        role = self._role_of(path)
        targets: dict[str, TargetFile] = self._signed(role).targets
        targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self._changed.add(role)

    def refresh(self, *, keys: Keyring) -> tuple[str, ...]:
        """Mark what is past half of its life, as far as its keys are at hand, and always the timestamp; the names marked."""
        due = {"timestamp"}
        for name in ("targets", ENTRIES, *self._bin_names(), "snapshot", "root"):
            key_ids, threshold = self._keys_of(name)
            half_way = self._now + self._lifetime(name) / 2
            if self._signed(name).expires < half_way and keys.has(key_ids, threshold):
                due.add(name)
        if "root" in due:
            self._keep_earlier_root()
        self._changed |= due
        return tuple(sorted(due))

    def rotate(self, role: str, *, old: str | None, new: PublicKey) -> None:
        """Replace the key ``old`` (None: add one more) of ``root``, ``targets`` or ``online`` by ``new``.

        Raises:
            TrustError: ``old`` is not a key of the role, or ``new`` is one already.
        """
        self._keep_earlier_root()
        root: Root = self._signed("root")
        for name in _SIGNED_ONLINE if role == "online" else (role,):
            self._replace(root, name, old, new)
        if role == "targets":
            self._replace(self._signed("targets"), ENTRIES, old, new)
            self._changed |= {"targets", ENTRIES}
        elif role == "online":
            self._replace(self._signed(ENTRIES), None, old, new)
            self._changed |= {ENTRIES, *self._bin_names(), *_SIGNED_ONLINE}
        self._changed.add("root")

    def raise_epoch(self) -> int:
        """Allow clients to follow a history that does not descend from the one they know; the new epoch."""
        self._keep_earlier_root()
        root: Root = self._signed("root")
        root.unrecognized_fields[_EPOCH] = epoch_of(root) + 1
        self._changed.add("root")
        return epoch_of(root)

    def sign(self, keys: Keyring) -> dict[str, bytes]:
        """Sign what changed and what must follow from it; path in the index → bytes.

        Raises:
            KeyFileError: keys are missing; says which.
        """
        files: dict[str, bytes] = {}
        snapshot: Snapshot = self._signed("snapshot")
        targets = sorted(self._changed - {"root", *_SIGNED_ONLINE})
        if "root" in self._changed:
            signed_root = self._sign("root", keys)
            files[metadata_path("root", self._signed("root").version)] = signed_root
        for name in targets:
            files[metadata_path(name)] = self._sign(name, keys)
            snapshot.meta[f"{name}.json"] = MetaFile(self._signed(name).version)
        if targets or "snapshot" in self._changed:
            files[metadata_path("snapshot")] = self._sign("snapshot", keys)
            self._signed("timestamp").snapshot_meta = MetaFile(snapshot.version)
        files[metadata_path("timestamp")] = self._sign("timestamp", keys)
        return files

    def states(self) -> list[RoleState]:
        """Every role but the bins, and the bin that expires first."""
        bins = min(self._bin_names(), key=lambda name: self._signed(name).expires)
        return [
            RoleState(
                name=name,
                version=self._signed(name).version,
                expires=self._signed(name).expires,
                key_ids=tuple(self._keys_of(name)[0]),
                threshold=self._keys_of(name)[1],
            )
            for name in ("root", "targets", ENTRIES, bins, *_SIGNED_ONLINE)
        ]

    def can_add_entries(self, keys: Keyring) -> bool:
        """Whether the online keys are at hand."""
        return all(keys.has(*self._keys_of(name)) for name in (self._bin_names()[0], *_SIGNED_ONLINE))

    # Reading

    def _signed(self, name: str) -> Any:
        if name not in self._roles:
            self._roles[name] = parse_metadata(self._read, name)
        return self._roles[name].signed

    def _succinct(self) -> SuccinctRoles:
        delegations = self._signed(ENTRIES).delegations
        if delegations is None or delegations.succinct_roles is None:
            raise IndexFormatError(f"{metadata_path(ENTRIES)} has no bins")
        return cast(SuccinctRoles, delegations.succinct_roles)

    def _bin_names(self) -> list[str]:
        return list(self._succinct().get_roles())

    def _role_of(self, path: str) -> str:
        return self._succinct().get_role_for_target(path) if path.startswith(f"{ENTRIES}/") else "targets"

    def _keys_of(self, name: str) -> tuple[list[str], int]:
        """The ids of a role's keys and how many of them must sign."""
        root: Root = self._signed("root")
        role: Any = root.roles.get(name)
        if name == ENTRIES:
            role = self._signed("targets").delegations.roles[ENTRIES]
        elif role is None:
            role = self._succinct()
        return role.keyids, role.threshold

    def _keep_earlier_root(self) -> None:
        if self._earlier_root is None:
            self._earlier_root = deepcopy(self._signed("root"))

    @staticmethod
    def _lifetime(name: str) -> timedelta:
        return timedelta(days=_LIFETIME_DAYS[BINS if name.startswith(f"{BINS}-") else name])

    @staticmethod
    def _replace(signed: Any, role: str | None, old: str | None, new: PublicKey) -> None:
        if isinstance(signed, Root):
            holder: Any = signed.roles[role or ""]
        else:
            delegations = signed.delegations
            holder = delegations.roles[role] if role else delegations.succinct_roles
        if new.key_id in holder.keyids:
            raise TrustError(f"{new.key_id} is a key of {role or BINS} already")
        if old is not None and old not in holder.keyids:
            raise TrustError(f"{old} is not a key of {role or BINS}", hint=f"its keys are {', '.join(holder.keyids)}")
        signed.add_key(to_tuf_key(new), role)
        if old is not None:
            signed.revoke_key(old, role)

    # Signing

    def _sign(self, name: str, keys: Keyring) -> bytes:
        metadata = self._roles.get(name) or parse_metadata(self._read, name)
        self._roles[name] = metadata
        metadata.signed.version += 1
        metadata.signed.expires = (self._now + self._lifetime(name)).replace(microsecond=0)
        metadata.signatures.clear()
        needed = [self._keys_of(name)]
        if name == "root" and self._earlier_root is not None:  # the keys before vouch for the keys after
            earlier = self._earlier_root.roles["root"]
            needed.append((earlier.keyids, earlier.threshold))
        for key_ids, threshold in needed:
            signers = keys.signers(key_ids)
            if len(signers) < threshold:
                raise KeyFileError(
                    f"{name} needs {threshold} of its keys to sign, {len(signers)} are at hand",
                    context=f"its keys are {', '.join(key_ids)}",
                    hint="name further key files with --key",
                )
            for signer in signers:
                if signer.public_key.keyid not in metadata.signatures:
                    metadata.sign(signer, append=True)
        return metadata.to_bytes()


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
    names = ("targets", ENTRIES, *_SIGNED_ONLINE, *bin_names(read))
    return {*roots(read), *(metadata_path(name) for name in names)}


def bin_names(read: Read) -> list[str]:
    return MetadataEditor(read, now=now_utc())._bin_names()


def newest_root(read: Read) -> str:
    """The path of the root with the highest version; the roots are numbered without gaps."""
    version = 1
    while read(metadata_path("root", version + 1)) is not None:
        version += 1
    return metadata_path("root", version)


def has_metadata(paths: Iterable[str]) -> bool:
    return any(path.startswith(f"{METADATA}/") for path in paths)


def epoch_of(root: Root) -> int:
    epoch = root.unrecognized_fields.get(_EPOCH, 0)
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise IndexFormatError(f"{_EPOCH} of the root is not a whole number")
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
