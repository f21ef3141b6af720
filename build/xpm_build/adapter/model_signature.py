"""Signatures of folders in the form of OpenSSF's model-signing: ``model.sig``, by an elliptic curve's key.

What is signed is an in-toto statement of every file's SHA-256, in the bundle that sigstore's tools pass around.
Owns that form (docs/reference/formats/model-signature.md); who has which key is the user's to know. The only module
that imports cryptography.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from xpm_index import strict_json
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.dsse import Envelope, line
from xpm_index.errors import AttestationError, IntegrityError, KeyFileError, ManifestError, SignatureError
from xpm_index.fields import Fields

SIGNATURE = "model.sig"
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_BUNDLE_TYPES = "application/vnd.dev.sigstore.bundle"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_OF_GIT = (".git", ".gitattributes", ".github", ".gitignore")
_HASHES = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
_MAX_FILES = 10_000
_MAX_KEY_BYTES = 1 << 16
_NEW_KEY = "make one with `openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem`"


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises KeyFileError if the file holds no private key in PEM, on P-256, P-384 or P-521, or one with a password."""
    try:
        key = load_pem_private_key(_read_key(path), None)
    except TypeError as error:
        hint = f"`openssl pkey -in {path.name} | xpm convert … --sign-model /dev/stdin` asks for it"
        raise KeyFileError(f"the key in {path} has a password", hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no private key in PEM", hint=_NEW_KEY) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unsupported(path)
    _require_known(key.curve, path)
    return key


def load_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Raises KeyFileError if the file holds no public key in PEM, on P-256, P-384 or P-521."""
    try:
        key = load_pem_public_key(_read_key(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "`openssl ec -in KEY.pem -pubout` writes the public key of a private one"
        raise KeyFileError(f"{path} holds no public key in PEM", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _unsupported(path)
    _require_known(key.curve, path)
    return key


def sign_folder(folder: Path, key: ec.EllipticCurvePrivateKey, *, name: str) -> None:
    """Write ``model.sig`` into a folder, over all other files in it, which are to be known by ``name``."""
    digests = dict(sorted((path, sha256_file(folder / path)) for path in _files(folder, {SIGNATURE})))
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [*_OF_GIT, SIGNATURE],
        },
        "resources": [
            {"name": path, "algorithm": "sha256", "digest": _hex(digest)} for path, digest in digests.items()
        ],
    }
    subject = {"name": name, "digest": {"sha256": _root_of(digests.values())}}
    unsigned = Envelope.of_statement([subject], _PREDICATE_TYPE, predicate)
    signature = key.sign(unsigned.signed_bytes(), ec.ECDSA(_HASHES[key.curve.name]))
    envelope = Envelope(payload=unsigned.payload, signatures=(("", signature),))
    bundle = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _hint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": envelope.to_dict(),
    }
    (folder / SIGNATURE).write_bytes(line(bundle))


def verify_folder(folder: Path, key: ec.EllipticCurvePublicKey, *, used: Mapping[str, bytes]) -> None:
    """Verify a folder's ``model.sig`` in these steps: (1) it is a statement signed by the key, (2) that statement
    is of files by SHA-256 and agrees with itself, (3) the folder has exactly these files, and what is ``used`` of
    it, by name, is among them.

    What the signature says is left out, and Git's own, may be there, and may not be used.

    Raises:
        SignatureError: there is none, or it is not by that key. AttestationError: it is malformed or foreign.
        IntegrityError: a file was altered, added or taken away after it was signed.
    """
    signed, ignored = _signed_files(_verified(folder, key))  # 1, 2
    found = {path: sha256_bytes(used[path]) for path in used}
    found |= {path: sha256_file(folder / path) for path in _files(folder, ignored) if path not in found}
    for path in sorted(found.keys() | signed.keys()):  # 3
        if found.get(path) != signed.get(path):
            state = "is missing" if path not in found else "is not signed" if path not in signed else "was altered"
            raise IntegrityError(
                f"{path[:99]} of {folder} {state}",
                context=f"{SIGNATURE} says {signed.get(path)}, here is {found.get(path)}",
                hint="get the folder again; if it recurs, tell whoever signed it",
            )


def _verified(folder: Path, key: ec.EllipticCurvePublicKey) -> Fields:
    """Step 1: the statement of a folder's signature."""
    what = f"{SIGNATURE} of {folder}"
    try:
        with (folder / SIGNATURE).open("rb") as file:
            bundle = Fields(
                strict_json.loads(file.read(strict_json.MAX_BYTES + 1), what=what), what, error=AttestationError
            )
    except OSError as error:
        raise SignatureError(f"{folder} has no {SIGNATURE}", context=str(error)) from error
    except ManifestError as error:
        raise AttestationError(error.message, context=error.context) from error
    if not bundle.text("mediaType").startswith(_BUNDLE_TYPES):
        raise AttestationError(
            f"{what} is no bundle of sigstore", context=f"its mediaType is {_cut(bundle, 'mediaType')}"
        )
    material = bundle.object("verificationMaterial", required=True)
    if material.raw.get("publicKey") is None:
        raise AttestationError(
            f"{what} is not by a key",
            context="somebody signed as who they are, with a certificate",
            hint="`model_signing verify sigstore` and `verify certificate` verify such ones",
        )
    stated = material.object("publicKey").text("hint", required=False)
    envelope = Envelope.from_fields(bundle.object("dsseEnvelope", required=True), what=what)
    if len(envelope.signatures) != 1 or (stated and stated != _hint(key)):
        raise SignatureError(f"{what} is not by this key", context=f"it names the key {stated[:64] or 'of nobody'}")
    try:
        key.verify(envelope.signatures[0][1], envelope.signed_bytes(), ec.ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature as error:
        raise SignatureError(
            f"{what} does not verify", hint="it was altered after it was signed, or signed with another key"
        ) from error
    return envelope.statement(what=what)


def _signed_files(statement: Fields) -> tuple[dict[str, str], set[str]]:
    """Step 2: (file → digest, paths that were left out)."""
    what = statement.path
    if statement.text("predicateType") != _PREDICATE_TYPE:
        context = f"its predicateType is {_cut(statement, 'predicateType')}"
        raise AttestationError(f"{what} is not of model-signing 1.0", context=context)
    predicate = statement.object("predicate", required=True)
    serialization = predicate.object("serialization", required=True)
    ways = (serialization.text("method"), serialization.text("hash_type"))
    if ways != ("files", "sha256"):
        raise AttestationError(
            f"{what} is by {ways[0][:20]} and {ways[1][:20]}",
            context="whole files by SHA-256 are read here",
            hint="verify it with `model_signing`, or let it be signed as model_signing does by default",
        )
    files = {each.text("name"): f"sha256:{each.text('digest')}" for each in predicate.objects("resources")}
    subjects = statement.objects("subject")
    root = subjects[0].object("digest").text("sha256") if len(subjects) == 1 else ""
    if len(files) != len(predicate.objects("resources")) or root != _root_of(files.values()):
        raise AttestationError(f"{what} contradicts itself", context="its one subject is not of its files")
    return files, {*serialization.strings("ignore_paths"), *_OF_GIT, SIGNATURE}


def _files(folder: Path, ignored: set[str]) -> Iterator[str]:
    """The files in a folder, but those ignored or in an ignored folder; raises IntegrityError
    at a link, or at too many."""
    num_files = 0
    for place, folders, names in os.walk(folder):
        here = Path(place).relative_to(folder)
        for name in [*folders, *names]:
            path = (here / name).as_posix()
            if path in ignored:
                folders[:] = [each for each in folders if each != name]
            elif (folder / path).is_symlink() or not ((folder / path).is_file() or (folder / path).is_dir()):
                raise IntegrityError(f"{path} of {folder} is no file", hint="a signature is over plain files")
            elif name in names:
                num_files += 1
                yield path
        if num_files > _MAX_FILES:
            raise IntegrityError(f"{folder} has more than {_MAX_FILES:,} files")


def _root_of(digests: Any) -> str:
    """What stands for all files: SHA-256 of their digests, in the order of the statement."""
    try:
        return hashlib.sha256(b"".join(bytes.fromhex(_hex(each)) for each in digests)).hexdigest()
    except ValueError:
        return ""


def _hint(key: ec.EllipticCurvePublicKey) -> str:
    return _hex(sha256_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)))


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _cut(fields: Fields, key: str) -> str:
    return repr(fields.text(key)[:80])


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"no key at {path}", context=str(error), hint=_NEW_KEY) from error


def _require_known(curve: ec.EllipticCurve, path: Path) -> None:
    if curve.name not in _HASHES:
        raise _unsupported(path)


def _unsupported(path: Path) -> KeyFileError:
    return KeyFileError(
        f"the key in {path} is not on P-256, P-384 or P-521", context="model-signing takes no others", hint=_NEW_KEY
    )
