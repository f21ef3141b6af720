"""What a package says that it was built of: signed by its publisher, of exactly its files; anything else is refused."""

import base64
import json
import random
import subprocess
from dataclasses import replace

import pytest
from securesystemslib.dsse import Envelope as PublicEnvelope
from securesystemslib.exceptions import VerificationError

from tests.support.packages import FILES, PUBLISHER, SIGNED_AT, make_manifest, sign_files
from xpm.trust import verify_package
from xpm_index.archive import MANIFEST, read_files, read_manifest, write_archive
from xpm_index.digests import sha256_bytes
from xpm_index.dsse import Envelope, line
from xpm_index.errors import AttestationError, IntegrityError, SignatureError
from xpm_index.git_source import source_of
from xpm_index.keys import SigningKey
from xpm_index.provenance import BUILD_TYPE, PREDICATE_TYPE, PROVENANCE, Dependency, Provenance, built_files
from xpm_index.publishing import sign_archive
from xpm_index.tuf_keys import to_tuf_key

COMMIT = "0123456789abcdef" * 2 + "01234567"


def made(manifest=None, files=FILES, **changes):
    source = Dependency.of("source", uri="git+https://git.example.org/acme/x", digests={"gitCommit": COMMIT})
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    stated = Provenance(
        builder="urn:xpm:builder:publisher",
        tool="0.1.0",
        parameters={"base": "xpm-tiny", "training": {"seed": 1}},
        dependencies=(source, Dependency.of("data", digests={"sha256": "0" * 64})),
        files=built_files(manifest or make_manifest(), digests),
    )
    return replace(stated, **changes)


@pytest.fixture
def built(tmp_path):
    """An archive as it is built, which nobody signed yet."""
    path = tmp_path / "x.expert"
    write_archive(path, {MANIFEST: make_manifest().to_bytes(), **FILES, PROVENANCE: made().to_bytes()})
    return path


@pytest.fixture
def key():
    return SigningKey.generate()


def sign(path, key):
    return sign_archive(path, key, publisher=PUBLISHER, created_at=SIGNED_AT)


def resign(path, key, provenance, files=FILES):
    """A package with this provenance as it is, as a publisher with another program could sign it."""
    files = {**files, PROVENANCE: provenance}
    write_archive(path, {MANIFEST: sign_files(make_manifest(), files, key).to_bytes(), **files})


def enveloped(statement, key):
    envelope = Envelope(payload=json.dumps(statement).encode())
    return line(replace(envelope, signatures=(("", bytes.fromhex(key.sign(envelope.signed_bytes()))),)).to_dict())


def statement_of(provenance):
    return json.loads(base64.b64decode(json.loads(provenance.to_bytes())["payload"]))


def test_what_is_built_is_signed_and_verified(built, key):
    payload = json.loads(read_files(built)[PROVENANCE])["payload"]
    sign(built, key)
    found = verify_package(built, key.public)
    assert found.provenance == made()
    assert found.provenance.told() == (
        "built by xpm 0.1.0 on the publisher's machine, of commit 0123456789ab of git+https://git.example.org/acme/x"
    )
    assert json.loads(read_files(built)[PROVENANCE])["payload"] == payload
    first = built.read_bytes()
    sign(built, key)  # again, and by another
    assert built.read_bytes() == first
    other = SigningKey.generate()
    sign(built, other)
    assert verify_package(built, other.public).provenance == made()


def test_other_programs_verify_it_too(built, key):
    sign(built, key)
    raw = json.loads(read_files(built)[PROVENANCE])
    envelope = PublicEnvelope.from_dict(raw)
    assert envelope.verify([to_tuf_key(key.public)], threshold=1)
    statement = json.loads(envelope.payload)
    assert (statement["_type"], statement["predicateType"]) == ("https://in-toto.io/Statement/v1", PREDICATE_TYPE)
    named = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    assert named.keys() == {MANIFEST, *FILES}
    assert named["LICENSE"] == sha256_bytes(FILES["LICENSE"]).removeprefix("sha256:")
    assert named[MANIFEST] == sha256_bytes(make_manifest().to_bytes()).removeprefix("sha256:")
    assert statement["predicate"]["buildDefinition"]["buildType"] == BUILD_TYPE
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([to_tuf_key(key.public)], threshold=1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**FILES, "LICENSE": b"another"}, "LICENSE was altered"),
        ({**FILES, "new.json": b"{}"}, r"new\.json was not built"),
        ({"LICENSE": FILES["LICENSE"]}, r"slots\.safetensors is missing"),
    ],
)
def test_files_that_were_not_built_are_not_signed(built, key, files, message):
    write_archive(built, {MANIFEST: make_manifest().to_bytes(), **files, PROVENANCE: made().to_bytes()})
    before = built.read_bytes()
    with pytest.raises(AttestationError, match=message):
        sign(built, key)
    assert built.read_bytes() == before
    resign(built, key, enveloped(statement_of(made()), key), files)
    with pytest.raises(AttestationError, match=message):
        verify_package(built, key.public)


def test_a_manifest_that_was_altered_is_not_signed(built, key):
    files = read_files(built)
    write_archive(built, {**files, MANIFEST: make_manifest(description="better").to_bytes()})
    with pytest.raises(AttestationError, match=r"manifest\.json was altered"):
        sign(built, key)


def test_nobody_else_signs_it(built, key):
    for data in (made().to_bytes(), enveloped(statement_of(made()), SigningKey.generate())):
        resign(built, key, data)
        with pytest.raises((SignatureError, AttestationError), match=r"does not verify|has 0 signatures"):
            verify_package(built, key.public)


def test_an_altered_statement_is_refused(built, key):
    sign(built, key)
    files = read_files(built)
    data = files[PROVENANCE].replace(b'"payload":"ey', b'"payload":"eA')
    write_archive(built, {**files, PROVENANCE: data})
    with pytest.raises(IntegrityError, match=PROVENANCE):
        verify_package(built, key.public)
    resign(built, key, data)
    with pytest.raises(SignatureError, match="does not verify"):
        verify_package(built, key.public)


def changed(*path, to):
    """A statement in which the value at a path is another, None for none."""
    statement = statement_of(made())
    place = statement
    for each in path[:-1]:
        place = place[each]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return statement


DEFINITION = ("predicate", "buildDefinition")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (changed("_type", to="https://in-toto.io/Statement/v0.1"), "no in-toto statement v1"),
        (changed("predicateType", to="https://spdx.dev/Document"), "not what `xpm build expert` writes"),
        (changed(*DEFINITION, "buildType", to="https://ci.example.org/v1"), "not what `xpm build expert` writes"),
        (changed(*DEFINITION, "externalParameters", to=None), "externalParameters is missing"),
        (changed(*DEFINITION, "resolvedDependencies", to=[1]), r"resolvedDependencies\[0\] must be an object"),
        (changed(*DEFINITION, "resolvedDependencies", 0, "name", to="a\nb"), "not printable"),
        (changed("predicate", "runDetails", "builder", "id", to="x" * 600), "too long"),
        (changed("subject", to={}), "subject must be an array"),
        (changed("subject", 0, "digest", to={"sha1": "0"}), r"subject\[0\]\.digest\.sha256 is missing"),
        (changed("subject", 1, "name", to="LICENSE"), "names a file twice"),
        ([], "must be an object"),
    ],
)
def test_malformed_and_foreign_statements(built, key, statement, message):
    resign(built, key, enveloped(statement, key))
    with pytest.raises(AttestationError, match=message) as caught:
        verify_package(built, key.public)
    assert PROVENANCE in caught.value.message
    before = built.read_bytes()
    with pytest.raises(AttestationError, match=message):
        sign(built, key)
    assert built.read_bytes() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"<html>", "JSON"),
        (b"[]", "must be an object"),
        (b'{"payload": "", "payloadType": "application/json"}', "holds no in-toto statement"),
        (b'{"payload": "!", "payloadType": "application/vnd.in-toto+json"}', "no base64"),
        (made().to_bytes() * 2, "several lines"),
        (random.Random(1).randbytes(1 << 20).hex().encode(), "larger than"),
    ],
)
def test_what_is_no_envelope(built, key, data, message):
    resign(built, key, data)
    with pytest.raises(AttestationError, match=message):
        verify_package(built, key.public)


def git(folder, *arguments):
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.hooksPath=/dev/null")
    subprocess.run(["git", "-C", str(folder), *settings, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://git.example.org/acme/x.git", "git+https://git.example.org/acme/x.git"),
        ("https://jane:secret@git.example.org/acme/x", "git+https://git.example.org/acme/x"),
        ("https://git.example.org/acme/x?token=secret", "git+https://git.example.org/acme/x"),
        ("jane@git.example.org:acme/x.git", "git+ssh://git.example.org/acme/x.git"),
        ("/home/jane/x.git", ""),
        ("../x.git", ""),
        ("file:///home/jane/x.git", ""),
        ("http://git.example.org/x", ""),
        ("http://localhost:3000/x", ""),
        ("ext::sh -c id", ""),
    ],
)
def test_the_commit_of_a_folder(tmp_path, remote, url):
    folder = tmp_path / "experts/x"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    names = ["manifest.json"]
    assert source_of(folder, names) is None
    git(tmp_path, "init", "-q")
    assert source_of(folder, names) is None
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    assert source_of(folder, names) is None  # it is in the repository's folder, and not of it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    git(tmp_path, "remote", "add", "origin", remote)
    found = source_of(folder, names)
    assert (found.url, found.path, found.not_in_commit) == (url, "experts/x", ())
    (folder / "manifest.json").write_text("{ }")
    assert source_of(folder, names).not_in_commit == ("manifest.json",)


def test_a_package_without_it_verifies(tmp_path, key):
    path = tmp_path / "x.expert"
    write_archive(path, {MANIFEST: make_manifest().to_bytes(), **FILES})
    sign(path, key)
    assert verify_package(path, key.public).provenance is None
    assert PROVENANCE not in read_manifest(path).integrity["files"]
