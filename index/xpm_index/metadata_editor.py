"""The maintainer's side of an index's metadata: what is to be vouched for, by which keys, and signing it.

Invariant: ``MetadataEditor.sign`` returns files that, committed together with the changed targets, a client accepts.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

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

from xpm_index.errors import KeyFileError, TrustError
from xpm_index.keys import PublicKey
from xpm_index.layout import ENTRIES, REVIEWS, metadata_path
from xpm_index.metadata import BINS, EPOCH, SIGNED_ONLINE, Read, bins_of, epoch_of, parse_metadata
from xpm_index.tuf_keys import Keyring, to_tuf_key

_ONLINE_PATHS = (f"{ENTRIES}/*/*", f"{REVIEWS}/*/*")
_LIFETIME_DAYS = {"root": 730, "targets": 365, ENTRIES: 365, BINS: 365, "snapshot": 365, "timestamp": 30}


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
        for role in SIGNED_ONLINE:
            root.add_key(to_tuf_key(keys.online), role)
        targets.delegations = Delegations(
            {keys.targets.key_id: to_tuf_key(keys.targets)},
            {ENTRIES: DelegatedRole(ENTRIES, [keys.targets.key_id], 1, True, paths=list(_ONLINE_PATHS))},
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
        if path.startswith(f"{REVIEWS}/"):
            self._delegate_reviews()
        targets: dict[str, TargetFile] = self._signed(role).targets
        targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self._changed.add(role)

    def _delegate_reviews(self) -> None:
        """Let the online key vouch for reviews too; an index made before there were any has to learn
        it, from its targets key."""
        targets: Targets = self._signed("targets")
        role = targets.delegations.roles[ENTRIES] if targets.delegations and targets.delegations.roles else None
        if role is not None and role.paths is not None and _ONLINE_PATHS[1] not in role.paths:
            role.paths.append(_ONLINE_PATHS[1])
            self._changed.add("targets")

    def refresh(self, *, keys: Keyring) -> tuple[str, ...]:
        """Mark what is past half of its life, as far as its keys are at hand, and always the
        timestamp; the names marked."""
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
        for name in SIGNED_ONLINE if role == "online" else (role,):
            self._replace(root, name, old, new)
        if role == "targets":
            self._replace(self._signed("targets"), ENTRIES, old, new)
            self._changed |= {"targets", ENTRIES}
        elif role == "online":
            self._replace(self._signed(ENTRIES), None, old, new)
            self._changed |= {ENTRIES, *self._bin_names(), *SIGNED_ONLINE}
        self._changed.add("root")

    def raise_epoch(self) -> int:
        """Allow clients to follow a history that does not descend from the one they know; the new epoch."""
        self._keep_earlier_root()
        root: Root = self._signed("root")
        root.unrecognized_fields[EPOCH] = epoch_of(root) + 1
        self._changed.add("root")
        return epoch_of(root)

    def sign(self, keys: Keyring) -> dict[str, bytes]:
        """Sign what changed and what must follow from it; path in the index → bytes.

        Raises:
            KeyFileError: keys are missing; says which.
        """
        files: dict[str, bytes] = {}
        snapshot: Snapshot = self._signed("snapshot")
        targets = sorted(self._changed - {"root", *SIGNED_ONLINE})
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
            for name in ("root", "targets", ENTRIES, bins, *SIGNED_ONLINE)
        ]

    def can_add_entries(self, keys: Keyring) -> bool:
        """Whether the online keys are at hand."""
        return all(keys.has(*self._keys_of(name)) for name in (self._bin_names()[0], *SIGNED_ONLINE))

    def can_vouch_for(self, path: str, keys: Keyring) -> bool:
        """Whether the keys are at hand that a change of the file ``path`` needs."""
        return all(keys.has(*self._keys_of(name)) for name in (self._role_of(path), *SIGNED_ONLINE))

    # Reading

    def _signed(self, name: str) -> Any:
        if name not in self._roles:
            self._roles[name] = parse_metadata(self._read, name)
        return self._roles[name].signed

    def _succinct(self) -> SuccinctRoles:
        self._signed(ENTRIES)
        return bins_of(self._roles[ENTRIES])

    def _bin_names(self) -> list[str]:
        return list(self._succinct().get_roles())

    def _role_of(self, path: str) -> str:
        return (
            self._succinct().get_role_for_target(path) if path.startswith((f"{ENTRIES}/", f"{REVIEWS}/")) else "targets"
        )

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
