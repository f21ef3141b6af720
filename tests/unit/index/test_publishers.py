"""Publisher files, and when a key may sign."""

from dataclasses import replace

import pytest

from tests.support.packages import SIGNED_AT, VALID_FROM, make_publisher
from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, TrustError
from xpm_index.keys import SigningKey
from xpm_index.publishers import Publisher, PublisherKey, parse_time

OLD, NEW, OTHER = (SigningKey.generate() for _ in range(3))


def parse(data: bytes) -> Publisher:
    return Publisher.parse(data, what="the file")


def file_with(**changes) -> bytes:
    return strict_json.canonical({**strict_json.loads(make_publisher(OLD, NEW).to_bytes(), what="it"), **changes})


def test_every_field_survives():
    keys = (
        PublisherKey(public=OLD.public, valid_from=VALID_FROM, revoked_at="2026-05-01T00:00:00Z"),
        PublisherKey(public=NEW.public, valid_from=VALID_FROM, valid_until="2027-01-01T00:00:00Z"),
    )
    publisher = Publisher(namespace="acme", keys=keys, contact="a@example.org", homepage="https://example.org")
    assert parse(publisher.to_bytes()) == publisher


@pytest.mark.parametrize(
    ("field", "time", "may"),
    [
        ({}, "2025-12-31T23:59:59Z", False),
        ({}, VALID_FROM, True),
        ({"valid_until": SIGNED_AT}, "2026-02-03T04:05:05Z", True),
        ({"valid_until": SIGNED_AT}, SIGNED_AT, False),
        ({"revoked_at": SIGNED_AT}, "2026-02-03T04:05:05Z", True),
        ({"revoked_at": SIGNED_AT}, SIGNED_AT, False),
    ],
)
def test_when_a_key_may_sign(field, time, may):
    assert PublisherKey(public=OLD.public, valid_from=VALID_FROM, **field).may_sign_at(time) is may


def test_the_key_that_could_sign():
    publisher = make_publisher(OLD, NEW)
    assert publisher.key(NEW.key_id, at=SIGNED_AT) == NEW.public
    with pytest.raises(TrustError, match="is not a key of acme"):
        publisher.key(OTHER.key_id, at=SIGNED_AT)
    with pytest.raises(TrustError, match="is not valid then"):
        publisher.key(NEW.key_id, at="2025-01-01T00:00:00Z")
    revoked = replace(publisher, keys=(replace(publisher.keys[0], revoked_at=VALID_FROM),))
    with pytest.raises(TrustError, match="is revoked"):
        revoked.key(OLD.key_id, at=SIGNED_AT)


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00Z", "2024-02-29T00:00:00Z"])
def test_times(text):
    assert parse_time(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00+00:00",
        "2026-01-31T12:00:00.5Z",
        "2026-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-01-31T24:00:01Z",
        "2026-01-31T12:00:00Z\n",
        "٢026-01-31T12:00:00Z",
    ],
)
def test_malformed_times(text):
    with pytest.raises(IndexFormatError, match="is not a time"):
        parse_time(text)


KEYS = strict_json.loads(make_publisher(OLD, NEW).to_bytes(), what="it")["keys"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be an object"),
        (file_with(namespace="A"), "namespace: 'A' is not a valid name"),
        (file_with(keys=[*KEYS, KEYS[0]]), "lists a key twice"),
        (file_with(keys=[{**KEYS[0], "key_id": NEW.key_id}]), r"keys\[0\]\.key_id does not belong to the key"),
        (file_with(keys=[{**KEYS[0], "public": "x"}]), r"keys\[0\]\.public: a public key is not of the form"),
        (file_with(keys=[{**KEYS[0], "revoked_at": "x"}]), r"keys\[0\]\.revoked_at: 'x' is not a time"),
        (file_with(keys=[{**KEYS[0], "valid_until": 5}]), r"keys\[0\]\.valid_until must be a string"),
    ],
)
def test_malformed_files(data, reason):
    with pytest.raises(IndexFormatError, match=reason):
        parse(data)


def test_a_key_is_added_and_revoked():
    publisher = make_publisher(OLD).with_key(NEW.public, valid_from=SIGNED_AT)
    assert publisher.key(NEW.key_id, at=SIGNED_AT) == NEW.public
    with pytest.raises(IndexFormatError, match="has the key"):
        publisher.with_key(OLD.public, valid_from=SIGNED_AT)
    revoked = publisher.without_key(OLD.key_id, at=SIGNED_AT)
    assert revoked.key(OLD.key_id, at=VALID_FROM) == OLD.public
    with pytest.raises(TrustError, match="is revoked"):
        revoked.key(OLD.key_id, at=SIGNED_AT)
    with pytest.raises(TrustError, match="is revoked already"):
        revoked.without_key(OLD.key_id, at=SIGNED_AT)
    with pytest.raises(TrustError, match="is not a key of acme"):
        revoked.without_key(OTHER.key_id, at=SIGNED_AT)
