"""Publisher files: a namespace and the keys that may sign packages for it.

The index's ``targets`` role, whose keys are kept offline, vouches for these files.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.keys import PublicKey
from xpm_index.names import validate_name
from xpm_index.urls import InvalidUrl, check_git_url, check_web_url, is_loopback

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+(?::[0-9]{{1,5}})?|localhost(?::[0-9]{{1,5}})?")
_MAX_DOMAIN, _MAX_PORT = 253, 65_535
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def parse_time(text: str) -> str:
    """RFC 3339 in UTC without fractions; such texts order as the times do."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        datetime.fromisoformat(text)
    except ValueError as error:
        raise IndexFormatError(f"{text[:40]!r} is not a time", hint="write e.g. 2026-01-31T12:00:00Z") from error
    return text


def parse_domain(text: str) -> str:
    """A domain in ASCII, in small letters, with a port if it has one; raises IndexFormatError."""
    domain = text.strip().lower()
    host, _, port = domain.partition(":")
    is_address = host.rpartition(".")[2].isdigit() and not is_loopback(host)
    if len(domain) > _MAX_DOMAIN or not _DOMAIN.fullmatch(domain) or is_address or int(port or 0) > _MAX_PORT:
        raise IndexFormatError(
            f"{text[:80]!r} is no domain", hint="write e.g. example.org; another alphabet's in its xn-- form"
        )
    return domain


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherKey:
    """A key and when it may sign; ``valid_until`` and ``revoked_at`` are None if open."""

    public: PublicKey
    valid_from: str
    valid_until: str | None = None
    revoked_at: str | None = None

    def may_sign_at(self, time: str) -> bool:
        after = self.valid_from <= time
        return (
            after
            and (self.valid_until is None or time < self.valid_until)
            and (self.revoked_at is None or time < self.revoked_at)
        )


def parse_repository(text: str) -> str:
    """The address of a Git repository that everybody can read: https, or http on this
    machine; raises IndexFormatError."""
    url = text.strip().rstrip("/")
    try:
        check_git_url(check_web_url(url))
    except InvalidUrl as error:
        raise IndexFormatError(
            error.message, context=error.context, hint="write https://HOST/OWNER/REPOSITORY"
        ) from error
    return url


def _parse_commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise IndexFormatError(f"{text[:80]!r} is no commit", hint="it has 40 or 64 hex digits")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainProof:
    """``domain`` said at ``checked_at`` that the publisher's keys are its own."""

    domain: str
    checked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitProof:
    """``repository`` said at ``checked_at``, in ``commit``, its default branch's tip, that the
    publisher's keys are its own."""

    repository: str
    commit: str
    checked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    namespace: str
    keys: tuple[PublisherKey, ...]
    contact: str = ""
    homepage: str = ""
    proof: DomainProof | None = None
    git_proof: GitProof | None = None

    def vouchers(self) -> Iterator[str]:
        """Who says that the keys are its own, and when it was last asked, for people."""
        if self.proof is not None:
            yield f"{self.proof.domain}, asked {self.proof.checked_at[:10]}"
        if self.git_proof is not None:
            proof = self.git_proof
            yield f"{proof.repository} at {proof.commit[:12]}, asked {proof.checked_at[:10]}"

    def key(self, key_id: str, *, at: str) -> PublicKey:
        """The key ``key_id`` if it could sign at time ``at``; raises TrustError otherwise."""
        for key in self.keys:
            if key.public.key_id == key_id:
                if key.may_sign_at(at):
                    return key.public
                state = "revoked" if key.revoked_at else "not valid then"
                raise TrustError(f"key {key_id} of {self.namespace} is {state}", context=f"used at {at}")
        raise TrustError(
            f"key {key_id[:40]} is not a key of {self.namespace}",
            hint="somebody else signed, or the publisher file is out of date",
        )

    def with_key(self, key: PublicKey, *, valid_from: str) -> "Publisher":
        """The same publisher with one key more, for which nobody has vouched yet; raises
        IndexFormatError if it has that key."""
        if any(each.public.key_id == key.key_id for each in self.keys):
            raise IndexFormatError(f"{self.namespace} has the key {key.key_id} already")
        return replace(
            self, keys=(*self.keys, PublisherKey(public=key, valid_from=valid_from)), proof=None, git_proof=None
        )

    def without_key(self, key_id: str, *, at: str) -> "Publisher":
        """The same publisher with a key revoked from the time ``at`` on; raises TrustError if it
        is not listed or revoked."""
        held = [each for each in self.keys if each.public.key_id == key_id]
        if not held or held[0].revoked_at is not None:
            state = "is revoked already" if held else f"is not a key of {self.namespace}"
            listed = ", ".join(each.public.key_id for each in self.keys)
            raise TrustError(f"key {key_id[:40]} {state}", hint=f"its keys are {listed}")
        keys = (replace(each, revoked_at=at) if each is held[0] else each for each in self.keys)
        return replace(self, keys=tuple(keys))

    def to_bytes(self) -> bytes:
        document: dict[str, Any] = {
            "contact": self.contact,
            "homepage": self.homepage,
            "keys": [_key_to_dict(key) for key in self.keys],
            "namespace": self.namespace,
        }
        if self.proof is not None:
            document["proof"] = {"domain": self.proof.domain, "checked_at": self.proof.checked_at}
        if self.git_proof is not None:
            document["git_proof"] = asdict(self.git_proof)
        return strict_json.canonical(document)

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> "Publisher":
        """Raises IndexFormatError with the key path."""
        try:
            fields = Fields(strict_json.loads(data, what=what), error=IndexFormatError)
            publisher = cls(
                namespace=fields.parsed("namespace", validate_name),
                keys=tuple(_parse_key(each) for each in fields.objects("keys")),
                contact=fields.text("contact", required=False),
                homepage=fields.text("homepage", required=False),
                proof=_parse_proof(fields.object("proof")),
                git_proof=_parse_git_proof(fields.object("git_proof")),
            )
        except XpmError as error:
            raise IndexFormatError(f"{what}: {error.message}", context=error.context, hint=error.hint) from error
        if len({key.public.key_id for key in publisher.keys}) != len(publisher.keys):
            raise IndexFormatError(f"{what} lists a key twice")
        return publisher


def _key_to_dict(key: PublisherKey) -> dict[str, Any]:
    document = {"key_id": key.public.key_id, "public": key.public.text, "valid_from": key.valid_from}
    optional = {"valid_until": key.valid_until, "revoked_at": key.revoked_at}
    return document | {name: value for name, value in optional.items() if value is not None}


def _parse_proof(fields: Fields) -> DomainProof | None:
    if not fields.raw:
        return None
    return DomainProof(domain=fields.parsed("domain", parse_domain), checked_at=fields.parsed("checked_at", parse_time))


def _parse_git_proof(fields: Fields) -> GitProof | None:
    if not fields.raw:
        return None
    return GitProof(
        repository=fields.parsed("repository", parse_repository),
        commit=fields.parsed("commit", _parse_commit),
        checked_at=fields.parsed("checked_at", parse_time),
    )


def _parse_key(fields: Fields) -> PublisherKey:
    public = fields.parsed("public", PublicKey.parse)
    if fields.text("key_id") != public.key_id:
        raise IndexFormatError(f"{fields.at('key_id')} does not belong to the key")
    return PublisherKey(
        public=public,
        valid_from=fields.parsed("valid_from", parse_time),
        valid_until=fields.parsed("valid_until", parse_time) if fields.raw.get("valid_until") is not None else None,
        revoked_at=fields.parsed("revoked_at", parse_time) if fields.raw.get("revoked_at") is not None else None,
    )
