"""Folders signed as OpenSSF's model-signing signs them: by us for it, by it for us, and
nothing that was altered passes."""

import base64
import json
import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.support.packages import make_package
from xpm.cli.main import cli
from xpm_build.adapter.convert import convert
from xpm_build.adapter.model_signature import SIGNATURE, load_private_key, load_public_key, sign_folder, verify_folder
from xpm_build.adapter.peft_files import ADAPTER_CONFIG
from xpm_build.errors import BuildError
from xpm_index.dsse import Envelope
from xpm_index.errors import AttestationError, IntegrityError, KeyFileError, SignatureError
from xpm_index.keys import SigningKey

PROGRAM = shutil.which("model_signing")
FILES = {"a.txt": b"a\n", "sub/b.txt": b"b\n"}
THEIR_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf0pjLao7M0gmrlWTfwPYD29Vn+Vg
nNRa1/VQXqjVTpsiP+aCBMPZnlfbrQYOE3IXVP3jh5js8AOiE30YiLbzUA==
-----END PUBLIC KEY-----
"""
THEIR_SIGNATURE = {
    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "verificationMaterial": {
        "publicKey": {"hint": "311135ed1a4eb8bfa32a5247c8360fa1e04c61532fb06792ff2218dcff62c144"},
        "tlogEntries": [],
    },
    "dsseEnvelope": {
        "payload": (
            "ewogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAic3ViamVjdCI6IFsKICAgIHsKICAgICAg"
            "Im5hbWUiOiAibW9kZWwiLAogICAgICAiZGlnZXN0IjogewogICAgICAgICJzaGEyNTYiOiAiNmVjN2I3M2Y1ODgzOTc2OGY1ZWIw"
            "MDZkOTZiMDJlYmFhN2JmM2QzMGM1ZGFhY2NjODMyNjYzYzgyNjZlMDkzMSIKICAgICAgfQogICAgfQogIF0sCiAgInByZWRpY2F0"
            "ZVR5cGUiOiAiaHR0cHM6Ly9tb2RlbF9zaWduaW5nL3NpZ25hdHVyZS92MS4wIiwKICAicHJlZGljYXRlIjogewogICAgInNlcmlh"
            "bGl6YXRpb24iOiB7CiAgICAgICJpZ25vcmVfcGF0aHMiOiBbCiAgICAgICAgIi5naXQiLAogICAgICAgICIuZ2l0aHViIiwKICAg"
            "ICAgICAiLmdpdGF0dHJpYnV0ZXMiLAogICAgICAgICIuZ2l0aWdub3JlIiwKICAgICAgICAibW9kZWwuc2lnIgogICAgICBdLAog"
            "ICAgICAiaGFzaF90eXBlIjogInNoYTI1NiIsCiAgICAgICJtZXRob2QiOiAiZmlsZXMiLAogICAgICAiYWxsb3dfc3ltbGlua3Mi"
            "OiBmYWxzZQogICAgfSwKICAgICJyZXNvdXJjZXMiOiBbCiAgICAgIHsKICAgICAgICAiYWxnb3JpdGhtIjogInNoYTI1NiIsCiAg"
            "ICAgICAgIm5hbWUiOiAiYS50eHQiLAogICAgICAgICJkaWdlc3QiOiAiODc0MjhmYzUyMjgwM2QzMTA2NWU3YmNlM2NmMDNmZTQ3"
            "NTA5NjYzMWU1ZTA3YmJkN2EwZmRlNjBjNGNmMjVjNyIKICAgICAgfSwKICAgICAgewogICAgICAgICJhbGdvcml0aG0iOiAic2hh"
            "MjU2IiwKICAgICAgICAibmFtZSI6ICJzdWIvYi50eHQiLAogICAgICAgICJkaWdlc3QiOiAiMDI2MzgyOTk4OWI2ZmQ5NTRmNzJi"
            "YWFmMmZjNjRiYzJlMmYwMWQ2OTJkNGRlNzI5ODZlYTgwOGY2ZTk5ODEzZiIKICAgICAgfQogICAgXQogIH0KfQ=="
        ),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [
            {
                "sig": "MEUCIDR/ydaATtNi4x6nJr7TC+/lVDSM0tWcuifDL8gkQ7soAiEA"
                "v7q2tHdtdROm3aaQE9PVX2QKf3DENSJNduN8M3/pZBY=",
                "keyid": "",
            }
        ],
    },
}
"""What model_signing 1.1.1 made of ``FILES``."""


def write_key(path, key, encryption=None):
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    path.write_bytes(pem)
    public = path.with_suffix(".pub")
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path, public


@pytest.fixture(params=[ec.SECP256R1, ec.SECP384R1, ec.SECP521R1], ids=lambda each: each.name)
def any_keys(request, tmp_path):
    return write_key(tmp_path / "key.pem", ec.generate_private_key(request.param()))


@pytest.fixture
def keys(tmp_path):
    return write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    for name, data in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


@pytest.fixture
def signed(folder, keys):
    sign_folder(folder, load_private_key(keys[0]), name="model")
    return folder


def verify(folder, keys, used=None):
    verify_folder(folder, load_public_key(keys[1]), used=used or {})


def model_signing(*arguments):
    if PROGRAM is None:
        pytest.skip("model_signing is not installed: pip install model-signing pyopenssl")
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def test_what_is_signed_verifies(folder, any_keys):
    sign_folder(folder, load_private_key(any_keys[0]), name="model")
    verify(folder, any_keys, {"a.txt": b"a\n"})


def test_what_model_signing_signed_verifies(folder, tmp_path):
    (tmp_path / "their.pub").write_text(THEIR_KEY)
    (folder / SIGNATURE).write_text(json.dumps(THEIR_SIGNATURE))
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("")
    verify(folder, (None, tmp_path / "their.pub"))
    (folder / "a.txt").write_bytes(b"b\n")
    with pytest.raises(IntegrityError, match=r"a\.txt of .* was altered"):
        verify(folder, (None, tmp_path / "their.pub"))


def test_model_signing_verifies_what_is_signed(folder, any_keys):
    sign_folder(folder, load_private_key(any_keys[0]), name="model")
    arguments = ("verify", "key", "--public_key", any_keys[1], "--signature", folder / SIGNATURE, folder)
    done = model_signing(*arguments)
    assert done.returncode == 0, done.stderr
    (folder / "a.txt").write_bytes(b"b\n")
    assert model_signing(*arguments).returncode != 0


def test_model_signing_signs_what_is_verified(folder, any_keys):
    done = model_signing("sign", "key", "--private_key", any_keys[0], "--signature", folder / SIGNATURE, folder)
    assert done.returncode == 0, done.stderr
    verify(folder, any_keys)


def alter(folder):
    (folder / "a.txt").write_bytes(b"b\n")


def add(folder):
    (folder / "new.txt").touch()


def take_away(folder):
    (folder / "sub/b.txt").unlink()


def link(folder):
    (folder / "a.txt").rename(folder.parent / "a.txt")
    (folder / "a.txt").symlink_to(folder.parent / "a.txt")


def link_folder(folder):
    (folder / "sub").rename(folder.parent / "sub")
    (folder / "sub").symlink_to(folder.parent / "sub")


def pipe(folder):
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (alter, r"a\.txt of .* was altered"),
        (add, r"new\.txt of .* is not signed"),
        (take_away, r"sub/b\.txt of .* is missing"),
        (link, r"a\.txt of .* is no file"),
        (link_folder, "sub of .* is no file"),
        (pipe, "pipe of .* is no file"),
    ],
)
def test_a_folder_that_was_altered_is_refused(signed, keys, change, message):
    change(signed)
    with pytest.raises(IntegrityError, match=message):
        verify(signed, keys)


def test_what_is_used_must_be_signed(signed, keys):
    (signed / ".gitignore").write_text("x")
    verify(signed, keys)
    with pytest.raises(IntegrityError, match=r"\.gitignore of .* is not signed"):
        verify(signed, keys, {".gitignore": b"x"})
    with pytest.raises(IntegrityError, match=r"a\.txt of .* was altered"):
        verify(signed, keys, {"a.txt": b"read before it was put back"})


def test_another_key_is_refused(signed, tmp_path):
    other = write_key(tmp_path / "other.pem", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SignatureError, match="is not by this key"):
        verify(signed, other)
    bundle = json.loads((signed / SIGNATURE).read_text())
    del bundle["verificationMaterial"]["publicKey"]["hint"]
    (signed / SIGNATURE).write_text(json.dumps(bundle))
    with pytest.raises(SignatureError, match="does not verify"):
        verify(signed, other)


def test_no_signature(folder, keys):
    with pytest.raises(SignatureError, match=r"has no model\.sig"):
        verify(folder, keys)


def forge(folder, keys, change):
    """A signature by the key, over a statement that was changed."""
    bundle = json.loads((folder / SIGNATURE).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    envelope = Envelope(payload=json.dumps(statement).encode())
    signature = load_private_key(keys[0]).sign(envelope.signed_bytes(), ec.ECDSA(SHA256()))
    bundle["dsseEnvelope"] = Envelope(payload=envelope.payload, signatures=(("", signature),)).to_dict()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda each: each.update(predicateType="https://slsa.dev/provenance/v1"), r"not of model-signing 1\.0"),
        (lambda each: each["predicate"]["serialization"].update(method="shards"), "is by shards and sha256"),
        (lambda each: each["predicate"]["serialization"].update(hash_type="blake3"), "is by files and blake3"),
        (lambda each: each["predicate"]["resources"].pop(), "contradicts itself"),
        (lambda each: each["predicate"]["resources"].append(each["predicate"]["resources"][0]), "contradicts itself"),
        (lambda each: each["predicate"]["resources"][0].update(digest="x"), "contradicts itself"),
        (lambda each: each.update(subject=[]), "contradicts itself"),
        (lambda each: each.pop("predicate"), "predicate is missing"),
        (lambda each: each["predicate"].update(resources=[1]), r"resources\[0\] must be an object"),
    ],
)
def test_malformed_and_foreign_statements(signed, keys, change, message):
    forge(signed, keys, change)
    with pytest.raises(AttestationError, match=message):
        verify(signed, keys)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"mediaType": "x"}', "no bundle of sigstore"),
        (b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}', "verificationMaterial is missing"),
        (
            b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",'
            b' "verificationMaterial": {"certificate": {"rawBytes": ""}}}',
            "is not by a key",
        ),
        (b" " * (2 << 20), "larger than"),
    ],
)
def test_what_is_no_bundle(signed, keys, data, message):
    (signed / SIGNATURE).write_bytes(data)
    with pytest.raises(AttestationError, match=message):
        verify(signed, keys)


def test_keys_that_can_t_be_used(keys, tmp_path):
    edwards, edwards_public = write_key(tmp_path / "ed.pem", ed25519.Ed25519PrivateKey.generate())
    koblitz, koblitz_public = write_key(tmp_path / "k.pem", ec.generate_private_key(ec.SECP256K1()))
    for path in (edwards, koblitz):
        with pytest.raises(KeyFileError, match="is not on P-256, P-384 or P-521"):
            load_private_key(path)
    for path in (edwards_public, koblitz_public):
        with pytest.raises(KeyFileError, match="is not on P-256, P-384 or P-521"):
            load_public_key(path)
    locked, _ = write_key(
        tmp_path / "locked.pem", ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"x")
    )
    with pytest.raises(KeyFileError, match="has a password"):
        load_private_key(locked)
    for load, path in ((load_private_key, keys[1]), (load_public_key, keys[0])):
        with pytest.raises(KeyFileError, match="in PEM"):
            load(path)
        with pytest.raises(KeyFileError, match="no key at"):
            load(tmp_path / "none.pem")


@pytest.mark.parametrize("form", ["hf", "peft", "oci"])
def test_a_conversion_signs_and_verifies(form, keys, tiny_adapter, tmp_path):
    source = tiny_adapter("lora").peft
    if form == "oci":
        source = tmp_path / "x.expert"
        make_package(source, SigningKey.generate())
    assert SIGNATURE in convert(source, tmp_path / "out", to=form, sign=keys[0])
    payload = json.loads((tmp_path / "out" / SIGNATURE).read_text())["dsseEnvelope"]["payload"]
    assert json.loads(base64.b64decode(payload))["subject"][0]["name"] == "out"
    back = "package" if form == "oci" else "peft"
    convert(tmp_path / "out", tmp_path / "back", to=back, verify=keys[1])
    if form == "oci":
        assert (tmp_path / "back").read_bytes() == source.read_bytes()
    altered = tmp_path / "out" / ("index.json" if form == "oci" else ADAPTER_CONFIG)
    altered.write_bytes(altered.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=altered.name):
        convert(tmp_path / "out", tmp_path / "again", to=back, verify=keys[1])
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".convert-*"))


def test_the_command_signs_and_verifies(keys, tiny_adapter, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(cli, ["convert", *map(str, arguments)])

    done = call(tiny_adapter("lora").peft, tmp_path / "hub", "--to", "hf", "--sign-model", keys[0], "--json")
    assert SIGNATURE in json.loads(done.stdout)["files"]
    assert call(tmp_path / "hub", tmp_path / "peft", "--to", "peft", "--verify-model", keys[1]).exit_code == 0
    (tmp_path / "hub/README.md").write_text("better")
    refused = call(tmp_path / "hub", tmp_path / "again", "--to", "peft", "--verify-model", keys[1])
    assert isinstance(refused.exception, IntegrityError)
    assert not (tmp_path / "again").exists()


def test_what_has_no_such_signature(keys, tmp_path):
    package = tmp_path / "x.expert"
    make_package(package, SigningKey.generate())
    with pytest.raises(BuildError, match="a package is a file"):
        convert(package, tmp_path / "y.expert", to="package", sign=keys[0])
    with pytest.raises(BuildError, match="is no folder"):
        convert(package, tmp_path / "out", to="oci", verify=keys[1])
    assert not (tmp_path / "out").exists()
