"""Publisher files, when a key may sign, and trust on first use."""

from dataclasses import replace

import pytest

from tests.support.packages import PUBLISHER, SIGNED_AT, VALID_FROM, make_publisher
from xpm_index import signed_json
from xpm_index.errors import IndexFormatError, SignatureError, TrustError
from xpm_index.keys import SigningKey
from xpm_index.publishers import Publisher, PublisherKey, parse_time
from xpm_index.trust import PinnedKeys

OLD, NEW, OTHER = (SigningKey.generate() for _ in range(3))


def parse(data: bytes) -> Publisher:
    return Publisher.parse(data, what="the file")


def signed_with(key: SigningKey = OLD, **changes) -> bytes:
    """A rightly signed file with other values."""
    document = {**signed_json.parse(make_publisher(OLD, NEW).to_bytes(OLD), what="it"), **changes}
    return signed_json.sign(document, key, domain=b"xpm-publisher-v1\n")


def test_every_field_survives():
    keys = (
        PublisherKey(public=OLD.public, valid_from=VALID_FROM, revoked_at="2026-05-01T00:00:00Z"),
        PublisherKey(public=NEW.public, valid_from=VALID_FROM, valid_until="2027-01-01T00:00:00Z"),
    )
    publisher = Publisher(
        namespace="acme", keys=keys, signed_by=NEW.key_id, contact="a@example.org", homepage="https://example.org"
    )
    assert parse(publisher.to_bytes(NEW)) == publisher


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
        "", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00.5Z",
        "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z", "2026-01-31T24:00:01Z", "2026-01-31T12:00:00Z\n",
        "٢026-01-31T12:00:00Z",
    ],
)  # fmt: skip
def test_malformed_times(text):
    with pytest.raises(IndexFormatError, match="is not a time"):
        parse_time(text)


KEYS = signed_json.parse(make_publisher(OLD, NEW).to_bytes(OLD), what="it")["keys"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "canonical form"),
        (signed_with() + b"\n", "canonical form"),
        (signed_with(namespace="A"), "namespace: 'A' is not a valid name"),
        (signed_with(keys=[]), "signed by a key it does not list"),
        (signed_with(signed_by=OTHER.key_id), "signed by a key it does not list"),
        (signed_with(keys=[*KEYS, KEYS[0]]), "lists a key twice"),
        (signed_with(keys=[{**KEYS[0], "key_id": NEW.key_id}]), r"keys\[0\]\.key_id does not belong to the key"),
        (signed_with(keys=[{**KEYS[0], "public": "x"}]), r"keys\[0\]\.public: a public key is not of the form"),
        (signed_with(keys=[{**KEYS[0], "revoked_at": "x"}]), r"keys\[0\]\.revoked_at: 'x' is not a time"),
        (signed_with(keys=[{**KEYS[0], "valid_until": 5}]), r"keys\[0\]\.valid_until must be a string"),
    ],
)
def test_malformed_files(data, reason):
    with pytest.raises(IndexFormatError, match=reason):
        parse(data)


@pytest.mark.parametrize("data", [signed_with(OTHER), signed_with(NEW)], ids=["unlisted key", "listed, but not stated"])
def test_a_file_signed_by_another_key_than_it_says(data):
    with pytest.raises(SignatureError, match="the signature of the file does not verify"):
        parse(data)


def test_the_first_keys_seen_are_pinned():
    trust = PinnedKeys()
    trust.accept(make_publisher(OLD))
    assert (trust.pins, trust.is_changed) == ({PUBLISHER: (OLD.key_id,)}, True)
    again = PinnedKeys.of(trust.pins)
    again.accept(make_publisher(OLD))
    assert not again.is_changed


def test_a_pinned_key_may_introduce_another_which_then_speaks_alone():
    trust = PinnedKeys.of({PUBLISHER: [OLD.key_id]})
    trust.accept(make_publisher(OLD, NEW))
    trust.accept(make_publisher(NEW))
    assert trust.pins == {PUBLISHER: (NEW.key_id,)}
    with pytest.raises(TrustError, match="were replaced"):
        trust.accept(make_publisher(OLD))


def test_a_stranger_s_keys_are_refused_and_the_pins_stay():
    trust = PinnedKeys.of({PUBLISHER: [OLD.key_id]})
    with pytest.raises(TrustError, match="the keys of acme were replaced"):
        trust.accept(make_publisher(OTHER, OLD))
    assert (trust.pins, trust.is_changed) == ({PUBLISHER: (OLD.key_id,)}, False)
    trust.accept(make_publisher(OTHER, namespace="other"))
    assert set(trust.pins) == {PUBLISHER, "other"}
