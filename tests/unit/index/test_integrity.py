"""A package's own signature: what it covers, and what counts as unsigned."""

import pytest

from tests.support.packages import FILES, PUBLISHER, SIGNED_AT, make_manifest, make_package, sign_files
from xpm_index.archive import MANIFEST, read_files
from xpm_index.digests import sha256_bytes
from xpm_index.errors import SignatureError
from xpm_index.integrity import SCHEME, read_signature, sign_manifest, verify_files, verify_signature
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


def test_a_signed_package_verifies_and_says_who_signed(tmp_path, key):
    path = tmp_path / "p.expert"
    make_package(path, key)
    files = read_files(path)
    manifest = Manifest.parse(files[MANIFEST])
    claim = verify_signature(manifest, key.public)
    assert (claim.publisher, claim.key_id, claim.created_at) == (PUBLISHER, key.key_id, SIGNED_AT)
    assert claim.files == {name: sha256_bytes(data) for name, data in FILES.items()}
    verify_files(manifest, files.pop(MANIFEST), {name: sha256_bytes(data) for name, data in files.items()})


def test_signing_again_replaces_the_signature(key):
    other = SigningKey.generate()
    manifest = sign_files(sign_files(make_manifest(), FILES, other), FILES, key)
    verify_signature(manifest, key.public)
    assert manifest.raw == sign_files(make_manifest(), FILES, key).raw


def test_another_key_is_refused(key):
    manifest = sign_files(make_manifest(), FILES, key)
    with pytest.raises(SignatureError, match="signed with another key"):
        verify_signature(manifest, SigningKey.generate().public)


def test_the_order_of_keys_is_not_signed_but_every_value_is(key):
    manifest = sign_files(make_manifest(tags=["a", "b"]), FILES, key)
    verify_signature(Manifest(dict(reversed(manifest.raw.items()))), key.public)
    with pytest.raises(SignatureError, match="does not verify"):
        verify_signature(manifest.with_values(tags=["b", "a"]), key.public)


@pytest.mark.parametrize("field", ["publisher", "created_at"])
def test_the_claim_itself_is_signed(key, field):
    manifest = sign_files(make_manifest(), FILES, key)
    forged = manifest.with_values(integrity={**manifest.integrity, field: "2020-01-01T00:00:00Z"})
    with pytest.raises(SignatureError, match="does not verify"):
        verify_signature(forged, key.public)


def test_no_signature():
    with pytest.raises(SignatureError, match=r"expert-sql 1\.0\.0 is not signed"):
        read_signature(make_manifest())


@pytest.mark.parametrize(
    ("integrity", "reason"),
    [
        (
            {"pubkey": "ed25519:00", "signature": "00", "signature_algorithm": "Ed25519"},
            "cover a manifest that changed",
        ),
        ({"scheme": "xpm-ed25519-9"}, "scheme 'xpm-ed25519-9' is unknown"),
    ],
)
def test_older_and_unknown_schemes_count_as_unsigned_and_say_why(integrity, reason):
    with pytest.raises(SignatureError, match="counts as unsigned") as caught:
        read_signature(make_manifest(integrity=integrity))
    assert reason in (caught.value.context or "")
    assert SCHEME in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extra": 1}, "unknown keys: extra"),
        ({"files": None}, r"integrity\.files is missing"),
        ({"files": {"a": "abc"}}, "is not a digest"),
        ({"files": {"../a": sha256_bytes(b"")}}, "leaves the package"),
        ({"files": {MANIFEST: sha256_bytes(b"")}}, "there twice"),
        ({"publisher": None}, r"integrity\.publisher is missing"),
        ({"key_id": 1}, r"integrity\.key_id must be a string"),
        ({"signature": ""}, r"integrity\.signature must not be empty"),
    ],
)
def test_malformed_blocks(key, change, reason):
    manifest = sign_files(make_manifest(), FILES, key)
    with pytest.raises(SignatureError, match=reason):
        read_signature(manifest.with_values(integrity={**manifest.integrity, **change}))


def test_a_manifest_may_name_no_files(key):
    manifest = sign_manifest(make_manifest(), {}, key=key, publisher=PUBLISHER, created_at=SIGNED_AT)
    assert verify_signature(manifest, key.public).files == {}


def test_signing_an_archive_in_place(tmp_path, key):
    path = tmp_path / "p.expert"
    make_package(path, SigningKey.generate())
    manifest = sign_archive(path, key, publisher=PUBLISHER, created_at=SIGNED_AT)
    verify_signature(manifest, key.public)
    assert read_files(path) == {MANIFEST: manifest.to_bytes(), **FILES}
    assert list(tmp_path.iterdir()) == [path]


def test_what_an_entry_says_of_a_package(tmp_path, key):
    path = tmp_path / "p.expert"
    manifest = make_package(path, key, manifest=make_manifest(constraints={"requires": ["expert-json@^1"]}))
    reference = archive_ref(path, manifest)
    assert path_in_index(manifest) == "archives/expert-sql/expert-sql-xpm-tiny.v1.0.0.expert"
    assert reference.sources == (f"blob:{path_in_index(manifest)}",)
    assert (reference.digest, reference.size) == (sha256_bytes(path.read_bytes()), path.stat().st_size)
    entry = entry_for(manifest, (reference,), publisher=PUBLISHER, key_id=key.key_id, published_at=SIGNED_AT)
    assert [str(each) for each in entry.requires] == ["expert-json@^1"]
    assert entry.archives == (reference,)
