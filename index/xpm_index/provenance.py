"""Where a package comes from: an in-toto statement with SLSA's provenance v1, in the package, signed by its publisher.

Owns its form (docs/reference/formats/provenance.md): what the build says, how `xpm sign` signs it, and what must hold
of it in a package. Knows nothing of how one builds. The statement is about the package's files, for it can't hold the
digest of the archive that it lies in; of manifest.json that is the one without ``integrity``, which signing adds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_bytes
from xpm_index.dsse import Envelope, line
from xpm_index.errors import AttestationError
from xpm_index.fields import Fields
from xpm_index.integrity import read_signature
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.manifest import Manifest

PROVENANCE = "provenance.intoto.jsonl"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:xpm:build-expert:v1"
PUBLISHERS_MACHINE = "urn:xpm:builder:publisher"
"""The builder where nobody says otherwise: a machine for which the publisher alone vouches."""
_SHA256 = "sha256:"
_MAX_SHOWN = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """What went into a build. ``digests`` are by algorithm; ``uri`` may be ""."""

    name: str
    uri: str = ""
    digests: Mapping[str, str]
    annotations: Mapping[str, Any]

    @classmethod
    def of(
        cls, name: str, *, uri: str = "", digests: Mapping[str, str] | None = None, **annotations: Any
    ) -> "Dependency":
        """Digests may be written ``sha256:…``; annotations that say nothing are left out."""
        plain = {each: digest.removeprefix(_SHA256) for each, digest in (digests or {}).items()}
        return cls(name=name, uri=uri, digests=plain, annotations={k: v for k, v in annotations.items() if v})

    def to_dict(self) -> dict[str, Any]:
        stated = {"name": self.name, "uri": self.uri, "digest": self.digests, "annotations": self.annotations}
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in stated.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a build says of itself. ``files`` are the digests (``sha256:…``) of what came of it, by name."""

    builder: str
    tool: str
    parameters: Mapping[str, Any]
    dependencies: tuple[Dependency, ...]
    files: Mapping[str, str]

    @property
    def source(self) -> Dependency | None:
        """The commit that the expert's folder was at, if it was in a repository."""
        return next((each for each in self.dependencies if "gitCommit" in each.digests), None)

    def told(self) -> str:
        """One line for people."""
        told = f"built by xpm {self.tool} on {_machine(self.builder)}"
        if (source := self.source) is None:
            return f"{told}, of no commit"
        where = f" of {source.uri}" if source.uri else ""
        changed = " with changes" if source.annotations.get("notInCommit") else ""
        return f"{told}, of commit {source.digests['gitCommit'][:12]}{where}{changed}"

    def rows(self) -> Iterator[tuple[str, str]]:
        """(what, text) of everything that a page shows, in the statement's order."""
        yield "builder", _machine(self.builder)
        yield "xpm", self.tool
        for each in self.dependencies:
            digests = " ".join(f"{name}:{digest}" for name, digest in each.digests.items())
            yield each.name, " ".join(filter(None, (each.uri, digests)))
            for key, value in each.annotations.items():
                yield f"{each.name}: {key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    def to_dict(self) -> dict[str, Any]:
        return {
            "builder": self.builder,
            "xpm": self.tool,
            "parameters": dict(self.parameters),
            "dependencies": [each.to_dict() for each in self.dependencies],
        }

    def to_bytes(self) -> bytes:
        """The file as a build writes it, which nobody signed yet."""
        subjects = [{"name": name, "digest": _digest_set(digest)} for name, digest in sorted(self.files.items())]
        predicate = {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(self.parameters),
                "resolvedDependencies": [each.to_dict() for each in self.dependencies],
            },
            "runDetails": {"builder": {"id": self.builder, "version": {"xpm": self.tool}}},
        }
        return line(Envelope.of_statement(subjects, PREDICATE_TYPE, predicate).to_dict())


def built_files(manifest: Manifest, digests: Mapping[str, str]) -> dict[str, str]:
    """What a statement in a package is about: its files as they were built.

    Args:
        digests: file name → digest; what they say of the manifest and the statement is passed over.
    """
    as_built = sha256_bytes(manifest.with_values(integrity=None).to_bytes())
    return {name: digest for name, digest in digests.items() if name != PROVENANCE} | {MANIFEST: as_built}


def sign_provenance(data: bytes, manifest: Manifest, digests: Mapping[str, str], key: SigningKey) -> bytes:
    """The file with the publisher's signature, in the place of others.

    Raises:
        AttestationError: it is none of ours, or of other files than the package's.
    """
    envelope = _envelope(data)
    _require_of(_parse(envelope), manifest, digests)
    signed = Envelope(payload=envelope.payload)
    signature = bytes.fromhex(key.sign(signed.signed_bytes()))
    return line(Envelope(payload=envelope.payload, signatures=((key.key_id, signature),)).to_dict())


def verify_provenance(data: bytes, manifest: Manifest, digests: Mapping[str, str], key: PublicKey) -> Provenance:
    """What a package's statement says, verified in these steps: (1) the package's key signed it, (2) it is one that
    `xpm build expert` makes, (3) it is about exactly the files of the package.

    Raises:
        SignatureError: it is not by that key, or was altered. AttestationError: it is malformed,
            foreign, or of other files.
    """
    provenance = read_provenance(data, key)  # 1, 2
    _require_of(provenance, manifest, digests)  # 3
    return provenance


def provenance_beside(manifest: Manifest, data: bytes, key: PublicKey) -> Provenance:
    """The same where only a signed manifest is at hand, which lists the files; for display, for
    it is not verified itself.

    Raises:
        as ``verify_provenance``.
    """
    return verify_provenance(data, manifest, read_signature(manifest).files, key)


def read_provenance(data: bytes, key: PublicKey | None = None) -> Provenance:
    """Steps 1 and 2; without a key step 2 alone, for what nobody signed yet.

    Raises:
        as ``verify_provenance``.
    """
    envelope = _envelope(data)
    if key is not None:
        signatures = [signature for _, signature in envelope.signatures]
        if len(signatures) != 1:
            raise AttestationError(
                f"{PROVENANCE} has {len(signatures)} signatures", hint="it has its publisher's alone: `xpm sign`"
            )
        key.verify(envelope.signed_bytes(), signatures[0].hex(), what=PROVENANCE)
    return _parse(envelope)


def _envelope(data: bytes) -> Envelope:
    if data.count(b"\n") > 1:
        raise AttestationError(f"{PROVENANCE} has several lines", hint="it holds the statement of the build alone")
    return Envelope.parse(data, what=PROVENANCE)


def _parse(envelope: Envelope) -> Provenance:
    statement = envelope.statement(what=PROVENANCE)
    if (kind := statement.text("predicateType")) != PREDICATE_TYPE:
        raise _foreign(f"its predicateType is {kind[:80]!r}")
    predicate = statement.object("predicate", required=True)
    definition = predicate.object("buildDefinition", required=True)
    if (build_type := definition.text("buildType")) != BUILD_TYPE:
        raise _foreign(f"its buildType is {build_type[:80]!r}")
    builder = predicate.object("runDetails", required=True).object("builder", required=True)
    files = {each.text("name"): _SHA256 + each.object("digest").text("sha256") for each in statement.objects("subject")}
    if len(files) != len(statement.objects("subject")):
        raise AttestationError(f"{PROVENANCE} names a file twice")
    return Provenance(
        builder=_short(builder.text("id")),
        tool=_short(builder.object("version").text("xpm")),
        parameters=definition.object("externalParameters", required=True).raw,
        dependencies=tuple(_dependency(each) for each in definition.objects("resolvedDependencies")),
        files=files,
    )


def _dependency(fields: Fields) -> Dependency:
    digests = fields.object("digest")
    return Dependency(
        name=_short(fields.text("name")),
        uri=_short(fields.text("uri", required=False)),
        digests={_short(each): _short(digests.text(each)) for each in digests.raw},
        annotations=fields.object("annotations").raw,
    )


def _short(text: str) -> str:
    if len(text) > _MAX_SHOWN or not text.isprintable():
        raise AttestationError(f"{PROVENANCE} holds a text that is too long or not printable: {text[:40]!r}")
    return text


def _require_of(provenance: Provenance, manifest: Manifest, digests: Mapping[str, str]) -> None:
    found = built_files(manifest, digests)
    for name in sorted(found.keys() | provenance.files.keys()):
        if found.get(name) != provenance.files.get(name):
            stated, here = name in provenance.files, name in found
            state = "was altered since it was built" if stated and here else "is missing" if stated else "was not built"
            raise AttestationError(
                f"{PROVENANCE} of {manifest.name} {manifest.version} is of other files: {name[:99]} {state}",
                context=f"built {provenance.files.get(name)}, here {found.get(name)}",
                hint="build the package again",
            )


def _foreign(context: str) -> AttestationError:
    return AttestationError(
        f"{PROVENANCE} is not what `xpm build expert` writes",
        context=context,
        hint="another program's statement goes beside the package, under another name",
    )


def _machine(builder: str) -> str:
    return "the publisher's machine" if builder == PUBLISHERS_MACHINE else builder


def _digest_set(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix(_SHA256)}
