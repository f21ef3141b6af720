"""What a build says that it made a package of: the manifest and settings given, and the digests
of everything that went in.

Nothing of the machine but the versions of what computed: no time, no path, no user; so the same build says the same.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import TRAIN, VALID
from xpm_build.errors import BuildError
from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_file
from xpm_index.errors import GitError
from xpm_index.git_source import GitSource, source_of
from xpm_index.manifest import Manifest
from xpm_index.provenance import PUBLISHERS_MACHINE, Dependency, Provenance, built_files
from xpm_index.urls import InvalidUrl, check_no_credentials

_OURS = "xpm-experts"
_COMPUTED_WITH = ("torch", "peft", "transformers")
_MAX_URI = 500


def provenance_of(
    folder: Path,
    given: Manifest,
    built: Manifest,
    files: Mapping[str, Path],
    *,
    places: list[Path],
    base: str,
    base_digest: str,
    storage: str,
    builder: str = "",
    report: Callable[[str], None] = lambda text: None,
) -> Provenance:
    """The provenance of a package that is about to be packed.

    Args:
        folder: the expert's, as it was given with the manifest ``given``.
        built: the manifest that is packed, with the other ``files`` of the package.
        places: the folders in it, relative, of the adapters.
        builder: the URI of who built; "" for the publisher.
        report: told why no commit can be stated, where there is a repository.
    Raises:
        BuildError: ``builder`` is no URI. ManifestError: a setting of the training can't be written as canonical JSON.
    """
    inputs = _inputs(folder, given, places)
    taken_along = [name for name, path in files.items() if path == folder / name]
    source = _source(folder, list(dict.fromkeys([*inputs, *taken_along])), report)
    dependencies = [*([_commit(source)] if source else []), *_of_files(inputs)]
    dependencies.append(Dependency.of(base, digests={"xpmFingerprint": base_digest}))
    dependencies += _packages()
    parameters = {
        "manifest": {"name": MANIFEST, "digest": {"sha256": inputs[MANIFEST].removeprefix("sha256:")}},
        "base": base,
        "storage": storage,
        "training": _training(given),
    }
    digests = {name: sha256_file(path) for name, path in files.items()}
    return Provenance(
        builder=check_builder(builder) if builder else PUBLISHERS_MACHINE,
        tool=_version(_OURS) or "unknown",
        parameters=parameters,
        dependencies=tuple(dependencies),
        files=built_files(built, digests),
    )


def check_builder(uri: str) -> str:
    """Return ``uri`` if it can name a builder; raises BuildError."""
    try:
        scheme = urlsplit(uri).scheme
    except ValueError:
        scheme = ""
    if not scheme or len(uri) > _MAX_URI or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise BuildError(
            f"{uri[:80]!r} is no URI of a builder", hint="write e.g. https://ci.example.org/acme/release-job"
        )
    try:
        return check_no_credentials(uri, what="the builder's URI")
    except InvalidUrl as error:
        raise BuildError(error.message, hint="leave the login out: the URI is published") from error


def _inputs(folder: Path, manifest: Manifest, places: list[Path]) -> dict[str, str]:
    """Name in the folder → digest of the manifest, of what PEFT saved, and of the data set; the manifest first."""
    settings = dataset_settings(manifest.raw)
    data = settings.path.parent
    named = [
        Path(MANIFEST),
        *(place / each for place in places for each in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)),
        settings.path,
        data / TRAIN,
        data / VALID,
        *(each for task in settings.tasks for each in (task.train, task.valid, task.test) if each),
    ]
    found = [each for each in dict.fromkeys(named) if (folder / each).is_file()]
    return {each.as_posix(): sha256_file(folder / each) for each in found}


def _source(folder: Path, names: list[str], report: Callable[[str], None]) -> GitSource | None:
    """The commit of a folder; what Git can't tell does not keep anybody from building."""
    try:
        return source_of(folder, names)
    except GitError as error:
        report(f"no commit is stated: {error.message}{f' ({error.context})' if error.context else ''}")
        return None


def _of_files(inputs: Mapping[str, str]) -> Iterator[Dependency]:
    for name, digest in inputs.items():
        if name != MANIFEST:  # which is a parameter
            yield Dependency.of(name, digests={"sha256": digest})


def _commit(source: GitSource) -> Dependency:
    return Dependency.of(
        "source",
        uri=source.url,
        digests={"gitCommit": source.commit},
        path=source.path,
        notInCommit=list(source.not_in_commit),
    )


def _packages() -> Iterator[Dependency]:
    for name in (_OURS, *_COMPUTED_WITH):
        if found := _version(name):
            yield Dependency.of(name, uri=f"pkg:pypi/{name}@{quote(found)}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _training(manifest: Manifest) -> dict[str, Any]:
    """The settings that the expert was trained by; where its data came from, their digests say."""
    stated = manifest.raw.get("training")
    return {key: value for key, value in stated.items() if key != "dataset"} if isinstance(stated, dict) else {}
