"""Keys, their files and signatures, digests."""

import json
import stat
import sys

import pytest
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, SSlibKey

import xpm_index.verified  # noqa: F401  whoever reads metadata has our keys in it
from xpm_index.digests import is_digest, parse_digest, sha256_bytes, sha256_file
from xpm_index.errors import IntegrityError, KeyFileError, SignatureError
from xpm_index.keys import PublicKey, SigningKey

# RFC 8032, 7.1, TEST 2 and its key id.
PUBLIC = PublicKey("ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_a_known_signature():
    PUBLIC.verify(b"\x72", SIGNATURE, what="it")
    assert PUBLIC.key_id == sha256_bytes(bytes.fromhex(PUBLIC.text[8:]))[7:23]


@pytest.mark.parametrize(
    ("message", "signature"),
    [
        (b"\x73", SIGNATURE),
        (b"", SIGNATURE),
        (b"\x72", SIGNATURE[:-2] + "10"),
        (b"\x72", SIGNATURE.upper()),
        (b"\x72", SIGNATURE + "00"),
        (b"\x72", SIGNATURE + "\n"),
        (b"\x72", SIGNATURE[:-2]),
        (b"\x72", ""),
        (b"\x72", "zz" * 64),
    ],
)
def test_refused_signatures(message, signature):
    with pytest.raises(SignatureError, match="the signature of it"):
        PUBLIC.verify(message, signature, what="it")


def test_a_signature_has_one_form():
    """s and s + L would verify alike without a check of the range."""
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(bytes.fromhex(SIGNATURE[64:]), "little") + order
    with pytest.raises(SignatureError, match="does not verify"):
        PUBLIC.verify(b"\x72", SIGNATURE[:64] + scalar.to_bytes(32, "little").hex(), what="it")


SMALL_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    *("ee" + "ff" * 30 + end for end in ("7f", "ff")),
    *("ed" + "ff" * 30 + end for end in ("7f", "ff")),
    "00" * 31 + "80",
    "01" + "00" * 30 + "80",
    "ec" + "ff" * 31,
]
"""Points under which what nobody signed verifies; those of order 1 to 8, some also in forms that are not canonical."""


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_keys_for_which_anything_would_verify(point):
    with pytest.raises(SignatureError, match="no point that a private key can have"):
        PublicKey.parse(f"ed25519:{point}")
    with pytest.raises(SignatureError, match="does not verify"):
        PublicKey(f"ed25519:{point}").verify(b"any", "01" + "00" * 63, what="it")


def test_nothing_that_nobody_signed_verifies_in_an_index_s_metadata():
    """Some of these OpenSSL takes, which reads metadata unless it is told otherwise."""
    document = {"keytype": "ed25519", "scheme": "ed25519"}
    forged, taken_by_openssl = [], 0
    for point in SMALL_ORDER:
        key = Key.from_dict("k", {**document, "keyval": {"public": point}})
        plain = SSlibKey("k", "ed25519", "ed25519", {"public": point})
        for first in SMALL_ORDER:
            signature = Signature("k", first + "00" * 32)
            for message in (b"1", b"2", b"3", b"4"):
                forged += [point] if verifies(key, signature, message) else []
                taken_by_openssl += verifies(plain, signature, message)
    assert forged == []
    assert taken_by_openssl > 10
    genuine = SigningKey.generate()
    signature = Signature("k", genuine.sign(b"1"))
    key = Key.from_dict("k", {**document, "keyval": {"public": genuine.public.text[8:]}})
    assert verifies(key, signature, b"1")
    assert not verifies(key, signature, b"2")


def verifies(key, signature, message):
    try:
        key.verify_signature(signature, message)
    except UnverifiedSignatureError:
        return False
    return True


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:" + "A" * 64, "rsa:" + "a" * 64, "ed25519:" + "a" * 64 + "\n"]
)
def test_malformed_public_keys(text):
    with pytest.raises(SignatureError, match="not of the form"):
        PublicKey.parse(text)


def test_a_saved_key_is_the_same_key(tmp_path):
    key, path = SigningKey.generate(), tmp_path / "keys" / "acme.json"
    key.save(path)
    again = SigningKey.load(path)
    assert again.public == key.public
    again.public.verify(b"message", key.sign(b"message"), what="it")
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "acme.json"
    SigningKey.generate().save(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="exists already"):
        SigningKey.generate().save(path)
    assert path.read_bytes() == before


def test_a_private_key_is_not_printed(tmp_path):
    key, path = SigningKey.generate(), tmp_path / "acme.json"
    key.save(path)
    private = json.loads(path.read_text())["private"]
    assert private not in repr(key) + str(key) + repr(vars(key))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "is not an xpm key"),
        ({"format": None}, "format is missing"),
        ({"private": None}, "private is missing"),
        ({"private": "!"}, "valid private key"),
        ({"private": "AAAA"}, "valid private key"),
        ({"public": PUBLIC.text}, "do not belong together"),
    ],
)
def test_damaged_key_files(tmp_path, change, reason):
    path = tmp_path / "acme.json"
    SigningKey.generate().save(path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **change}))
    with pytest.raises(KeyFileError, match=reason) as caught:
        SigningKey.load(path)
    assert document["private"] not in f"{caught.value} {caught.value.context}"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"a":1,"a":2}'])
def test_files_that_are_no_keys(tmp_path, data):
    path = tmp_path / "acme.json"
    path.write_bytes(data)
    with pytest.raises(KeyFileError):
        SigningKey.load(path)


def test_an_absent_key(tmp_path):
    with pytest.raises(KeyFileError, match="no key at") as caught:
        SigningKey.load(tmp_path / "absent.json")
    assert "xpm key new" in (caught.value.hint or "")


def test_digests(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(path) == sha256_bytes(b"abc") == parse_digest(known) == known
    assert is_digest(known)


@pytest.mark.parametrize(
    "text", ["", None, 5, "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 64 + "\n"]
)
def test_malformed_digests(text):
    assert not is_digest(text)
    with pytest.raises(IntegrityError, match="is not of the form"):
        parse_digest(text)
