"""What a client may believe of an index's files: each is read together with what vouches for it.

``TufFiles`` runs the client workflow of The Update Framework over any source of bytes; nothing here knows Git or HTTP.
``EnclosedFiles`` is for an index that came inside something trusted already, such as this program.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from xpm_index.digests import sha256_bytes
from xpm_index.errors import IndexFormatError, StaleIndexError, TrustError, XpmError
from xpm_index.layout import METADATA, metadata_path
from xpm_index.metadata import Read, now_utc, roots

_URL = "index:/"
_ASK = "ask the index's maintainer; if it is meant so, remove the index and add it again"
_KEPT_FOR_ROLLBACK = ("timestamp", "snapshot")
_MAX_METADATA_BYTES = UpdaterConfig().targets_max_length

Fetch = Callable[[str, int], bytes | None]
"""Gets the file at a path of the index from afar; None if there is none, an XpmError at more than that many bytes."""


class VerifiedFiles(Protocol):
    """Reads the files of an index at one state of it.

    ``state`` identifies that where a commit does not, else it is ""; ``snapshot_version`` is that of the
    metadata, 0 if there is none.
    """

    @property
    def state(self) -> str: ...

    @property
    def snapshot_version(self) -> int: ...

    def has(self, path: str) -> bool:
        """Whether the index has, or says that it has, a file at ``path``; its bytes are verified when they are read."""
        ...

    def read(self, path: str) -> bytes | None:
        """The file at ``path``, None if the index has none; raises TrustError if nothing vouches for its bytes."""
        ...

    def promises(self, path: str, digest: str) -> bool:
        """Whether a file with this digest is vouched for at ``path``; raises TrustError if the
        metadata does not verify."""
        ...


class EnclosedFiles:
    """The files of an index that is vouched for as a whole."""

    state = ""
    snapshot_version = 0

    def __init__(self, read: Read) -> None:
        self._read = read

    def has(self, path: str) -> bool:
        return self._read(path) is not None

    def read(self, path: str) -> bytes | None:
        return self._read(path)

    def promises(self, path: str, digest: str) -> bool:
        return True


class TufFiles:
    """The files of an index as far as its metadata, from a trusted root on, vouches for them.

    Args:
        read: the index at the state to be believed.
        root: a root that is trusted already; later ones are followed from it.
        earlier: the state believed before, which this one may not be older than.
        now: the time by which expiry is judged.
        allow_stale: accept metadata that has expired.
        fetch: gets what ``read`` does not have as the metadata promises it, and the metadata itself.
        held: the roles whose metadata ``earlier`` has, so that it is fetched only where it is no longer the newest.
    Raises:
        StaleIndexError: it has expired. TrustError: it is older than the earlier one, signed by
            other keys, or inconsistent.
        IndexFormatError: it is incomplete or malformed.
    """

    state = ""

    def __init__(
        self,
        read: Read,
        *,
        root: bytes,
        earlier: Read | None = None,
        now: datetime | None = None,
        allow_stale: bool = False,
        fetch: Fetch | None = None,
        held: Iterable[str] = (),
    ) -> None:
        self._read = read
        self._fetch = fetch
        self._folder = tempfile.TemporaryDirectory(prefix="xpm-tuf-", ignore_cleanup_errors=True)
        for role in {*_KEPT_FOR_ROLLBACK, *held}:
            if earlier is not None and (data := earlier(metadata_path(role))) is not None:
                with open(f"{self._folder.name}/{role}.json", "wb") as file:
                    file.write(data)
        with _translated():
            config = UpdaterConfig(prefix_targets_with_hash=False)
            self._updater = Updater(
                self._folder.name, f"{_URL}{METADATA}", fetcher=_Fetcher(read, fetch), config=config, bootstrap=root
            )
            # Expiry is judged at one time, which python-tuf fixes when it starts but lets nobody pass in.
            trusted = self._updater._trusted_set
            trusted.reference_time = datetime.min.replace(tzinfo=now_utc().tzinfo) if allow_stale else now or now_utc()
            self._updater.refresh()
            self.root = trusted.root
            self.expires: datetime = trusted.timestamp.expires
            self.snapshot_version: int = trusted.snapshot.version

    def has(self, path: str) -> bool:
        return self._read(path) is not None or (self._fetch is not None and self.vouches_for(path))

    def read(self, path: str) -> bytes | None:
        with _translated():
            promised = self._updater.get_targetinfo(path)
        data = self._read(path)
        if self._fetch and promised and (data is None or not self.promises(path, sha256_bytes(data))):
            data = self._fetch(path, promised.length)
        if promised is None:
            if data is not None:
                raise TrustError(f"nothing in the index vouches for {path}", hint=_ASK)
            return None
        if data is None:
            raise TrustError(f"the index promises {path} and does not have it", hint=_ASK)
        with _translated(path):
            promised.verify_length_and_hashes(data)
        return data

    def promises(self, path: str, digest: str) -> bool:
        with _translated():
            promised = self._updater.get_targetinfo(path)
        return promised is not None and promised.hashes.get("sha256") == digest.removeprefix("sha256:")

    def vouches_for(self, path: str) -> bool:
        """Whether the metadata lists ``path``; raises TrustError if the metadata that would does not verify."""
        with _translated():
            return self._updater.get_targetinfo(path) is not None


def find_root(read: Read, fingerprint: str) -> bytes:
    """The root with this SHA-256 (``sha256:…``) among those of an index; raises TrustError if it has none."""
    found = {sha256_bytes(data): data for data in roots(read).values()}
    if not found:
        raise IndexFormatError(
            "the repository has no root metadata", hint="it is no index: make one with `xpm index init`"
        )
    if fingerprint not in found:
        raise TrustError(
            "the index is not the one that is trusted",
            context=f"no root of it has the fingerprint {fingerprint}; its newest has {list(found)[-1]}",
            hint="compare with what the index's maintainer publishes; then remove the index and add it again",
        )
    return found[fingerprint]


def newest_fingerprint(read: Read) -> str:
    """The fingerprint of an index's newest root, to be compared by a person with what the maintainer publishes."""
    found = list(roots(read).values())
    if not found:
        raise IndexFormatError(
            "the repository has no root metadata", hint="it is no index: make one with `xpm index init`"
        )
    return sha256_bytes(found[-1])


def require_same_roots(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Raise TrustError if a root that was there is altered or gone."""
    for path, data in before.items():
        if after.get(path) != data:
            state = "altered" if path in after else "removed"
            raise TrustError(f"the index {state} one of its roots", context=path, hint=_ASK)


def expiry_of(read: Read) -> datetime | None:
    """When the timestamp expires, without verifying it; None if it can't be read."""
    data = read(metadata_path("timestamp"))
    try:
        return Metadata[Timestamp].from_bytes(data).signed.expires if data else None
    except (RepositoryError, ValueError):
        return None


class _Fetcher(FetcherInterface):
    """Hands the updater files of an index by their paths: those that are fetched if there is a
    way to, else those at hand."""

    def __init__(self, read: Read, fetch: Fetch | None) -> None:
        self._get = read if fetch is None else lambda path: fetch(path, _MAX_METADATA_BYTES)

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._get(url.removeprefix(_URL))
        if data is None:
            raise DownloadHTTPError(f"there is no {url}", 404)
        return iter([data])


@contextmanager
def _translated(path: str = METADATA) -> Iterator[None]:
    """Turn python-tuf's errors into ours."""
    try:
        yield
    except (RepositoryError, DownloadError) as error:
        if isinstance(error.__cause__, XpmError):  # of what reads or fetches, which python-tuf wraps
            raise error.__cause__ from None
        raise _ours(error, path) from error


def _ours(error: Exception, path: str) -> XpmError:
    reason = str(error)[:300]
    if isinstance(error, ExpiredMetadataError):
        return StaleIndexError(
            "the index was not renewed in time: it may be kept from you that there is something newer",
            context=reason,
            hint="run `xpm index update`; if that does not help, tell the maintainer, or pass --allow-stale",
        )
    if isinstance(error, BadVersionNumberError):
        return TrustError("the index was rolled back: its metadata is older than before", context=reason, hint=_ASK)
    if isinstance(error, UnsignedMetadataError):
        return TrustError("the index's metadata is not signed by the keys that may", context=reason, hint=_ASK)
    if isinstance(error, LengthOrHashMismatchError):
        return TrustError(f"{path} is not what the index's metadata promises", context=reason, hint=_ASK)
    if isinstance(error, DownloadLengthMismatchError):
        return TrustError(f"{path} holds more than its limit", context=reason, hint=_ASK)
    if isinstance(error, DownloadError):
        return IndexFormatError("the index's metadata is incomplete", context=reason, hint=_ASK)
    return TrustError("the index's metadata is inconsistent", context=reason, hint=_ASK)
