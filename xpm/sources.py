"""Where an expert comes from, and how xpm.toml says it (docs/reference/formats/sources.md).

``xpm.parse_source`` reads what is typed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_index.fields import Fields
from xpm_index.names import ExpertName
from xpm_index.requirements import Requirement
from xpm_index.urls import InvalidUrl, check_git_url, check_path, check_tag, check_web_url, shown
from xpm_index.versions import VersionRange

ARCHIVE_SUFFIX = ".expert"
HUB = "hf:"
BASE_SUFFIX = ".base"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_HUB_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,127}", re.ASCII)
_KINDS: dict[str, set[str]] = {
    "version": {"index"},
    "git": {"tag", "path"},
    "url": {"sha256"},
    "archive": set(),
    "folder": {"editable"},
    "adapter": set(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FromIndex:
    """A version that an index publishes; ``index`` names the only one it may come from, "" if any may."""

    requirement: Requirement
    index: str = ""

    def __str__(self) -> str:
        return str(self.requirement)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromGit:
    """An expert at a tag of a Git repository; ``url`` is without ``git+``, ``subpath`` "" for the repository's root."""

    url: str
    tag: str
    subpath: str = ""

    def __str__(self) -> str:
        return f"git+{self.url}@{self.tag}" + (f"#{self.subpath}" if self.subpath else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromUrl:
    """An archive on a web server; ``sha256`` is 64 hex digits, "" while nobody has said."""

    url: str
    sha256: str = ""

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}" if self.sha256 else ""

    def __str__(self) -> str:
        return self.url + (f"#sha256={self.sha256}" if self.sha256 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromArchive:
    """A local archive; ``path`` is relative to the project's folder if it is near, else absolute."""

    path: Path

    def locate(self, folder: Path) -> Path:
        """The file, for the project in ``folder``."""
        return folder / self.path

    def __str__(self) -> str:
        return _typed(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromFolder:
    """A local folder with an unpacked expert, used as it is; ``path`` as in FromArchive."""

    path: Path
    editable: bool = True

    def locate(self, folder: Path) -> Path:
        """The folder, for the project in ``folder``."""
        return folder / self.path

    def __str__(self) -> str:
        return _typed(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromModel:
    """A base that is made here of a model: ``hf:OWNER/NAME@REVISION#FILE``, or a path as in FromArchive.

    ``quantizer`` is how weights are rounded that are floats, "" for the usual way.
    """

    model: str
    quantizer: str = ""

    @property
    def is_remote(self) -> bool:
        return self.model.startswith(HUB)

    def locate(self, folder: Path) -> Path:
        """The file or folder, for the project in ``folder``."""
        return folder / self.model

    def __str__(self) -> str:
        return f"model:{self.model}" + (f" {self.quantizer}" if self.quantizer else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromAdapter:
    """An expert that is made here of what PEFT saved: ``hf:OWNER/NAME@REVISION``, or a
    folder's path as in FromArchive."""

    adapter: str

    @property
    def is_remote(self) -> bool:
        return self.adapter.startswith(HUB)

    @property
    def hub_id(self) -> str:
        """OWNER/NAME of one on a hub."""
        return self.adapter.removeprefix(HUB).partition("@")[0]

    @property
    def revision(self) -> str:
        """The branch, tag or commit that was named, "" if none was, or if it is a folder."""
        return self.adapter.partition("@")[2] if self.is_remote else ""

    def locate(self, folder: Path) -> Path:
        """The folder, for the project in ``folder``."""
        return folder / self.adapter

    def __str__(self) -> str:
        return f"adapter:{self.adapter}"


Direct = FromGit | FromUrl | FromArchive | FromFolder | FromModel
"""What can be looked at by itself. An adapter can't: it is made for a base."""
Source = FromIndex | FromAdapter | Direct


def to_toml(source: Source) -> str | dict[str, Any]:
    """What stands in ``[experts]`` of xpm.toml after the expert's name."""
    match source:
        case FromIndex(requirement=requirement, index=index):
            return {"version": requirement.range.text, "index": index} if index else requirement.range.text
        case FromGit(url=url, tag=tag, subpath=subpath):
            return {"git": url, "tag": tag} | ({"path": subpath} if subpath else {})
        case FromUrl(url=url, sha256=sha256):
            return {"url": url} | ({"sha256": sha256} if sha256 else {})
        case FromArchive(path=path):
            return {"archive": path.as_posix()}
        case FromFolder(path=path):
            return {"folder": path.as_posix(), "editable": True}
        case FromModel(model=model, quantizer=quantizer):
            return {"model": model} | ({"quantizer": quantizer} if quantizer else {})
        case FromAdapter(adapter=adapter):
            return {"adapter": adapter}


def from_toml(name: str, experts: Fields) -> Source:
    """Parse the value of ``name`` in ``[experts]``.

    Raises:
        ``experts.error``: it is malformed; the message carries the key path.
    """
    if not isinstance(experts.raw.get(name), dict):
        return FromIndex(requirement=_requirement(name, experts, name))
    fields = experts.object(name)
    kind = [key for key in _KINDS if key in fields.raw]
    if len(kind) != 1:
        context = f"it has {', '.join(kind) or 'none'}"
        raise fields.error(f"{fields.path} must have one of {', '.join(_KINDS)}", context=context)
    if unknown := sorted(set(fields.raw) - {kind[0]} - _KINDS[kind[0]]):
        raise fields.error(f"{fields.path} has the unknown key {unknown[0][:40]!r}", hint=f"it has {kind[0]!r}")
    match kind[0]:
        case "version":
            index = fields.text("index", required=False)
            return FromIndex(requirement=_requirement(name, fields, "version"), index=index)
        case "git":
            subpath = fields.parsed("path", check_path) if fields.raw.get("path") else ""
            return FromGit(url=fields.parsed("git", _git_url), tag=fields.parsed("tag", check_tag), subpath=subpath)
        case "url":
            sha256 = fields.parsed("sha256", check_sha256) if "sha256" in fields.raw else ""
            return FromUrl(url=fields.parsed("url", check_archive_url), sha256=sha256)
        case "archive":
            return FromArchive(path=fields.parsed("archive", lambda text: _local_path(text, ARCHIVE_SUFFIX)))
        case "adapter":
            return FromAdapter(adapter=fields.parsed("adapter", check_adapter))
    if fields.raw.get("editable") is not True:
        hint = f"or build it and name the {ARCHIVE_SUFFIX} file"
        raise fields.error(f"{fields.path} is a folder without `editable = true`", hint=hint)
    return FromFolder(path=fields.parsed("folder", _local_path))


def base_from_toml(name: str, base: Fields) -> Source:
    """Parse where ``[base]`` says that the base comes from; raises ``base.error`` if it is malformed."""
    if "archive" in base.raw:
        return FromArchive(path=base.parsed("archive", lambda text: _local_path(text, BASE_SUFFIX)))
    if "model" in base.raw:
        return FromModel(model=base.text("model"), quantizer=base.text("quantizer", required=False))
    stated = "version" in base.raw
    return FromIndex(requirement=_requirement(name, base, "version") if stated else Requirement(ExpertName.parse(name)))


def _requirement(name: str, fields: Fields, key: str) -> Requirement:
    def parse(text: str) -> Requirement:
        return Requirement(ExpertName.parse(name), VersionRange.parse(text))

    return fields.parsed(key, parse)


def _git_url(url: str) -> str:
    return check_git_url(url.removeprefix("git+"))


def is_hub_id(text: str) -> bool:
    """Whether ``text`` has the form ``owner/name``, perhaps with ``@revision``."""
    name, at, revision = text.partition("@")
    is_revision = not at or (bool(_HUB_REVISION.fullmatch(revision)) and ".." not in revision)
    return bool(_HUB_ID.fullmatch(name)) and is_revision


def check_adapter(text: str) -> str:
    """Return what names an adapter on a hub or a folder; raises InvalidUrl if it is something else."""
    if text.startswith(HUB):
        if not is_hub_id(text.removeprefix(HUB)):
            raise InvalidUrl(f"{text[:120]!r} names no adapter", hint="write hf:OWNER/NAME, perhaps with @REVISION")
        return text
    return _local_path(text).as_posix()


def check_archive_url(url: str) -> str:
    """Return the URL if it is one of an archive that is followed, else raise InvalidUrl."""
    if not check_web_url(url).partition("?")[0].endswith(ARCHIVE_SUFFIX):
        raise InvalidUrl(
            f"{shown(url)} is not an archive",
            hint=f"name a {ARCHIVE_SUFFIX} file; for a Git repository, write git+https://…@<tag>",
        )
    return url


def check_sha256(text: str) -> str:
    """Return 64 hex digits in lower case; raises InvalidUrl if it is something else."""
    if not _SHA256.fullmatch(text.lower()):
        raise InvalidUrl(f"sha256 is {text[:80]!r}", hint="it is 64 hex digits")
    return text.lower()


def _local_path(text: str, suffix: str = "") -> Path:
    if not text.isprintable() or not text.endswith(suffix):
        raise InvalidUrl(f"{text[:80]!r} is not the path of a {suffix or 'folder'}")
    return Path(text)


def _typed(path: Path) -> str:
    """A path so that it is not taken for a name."""
    text = path.as_posix()
    return text if path.is_absolute() or text.startswith(".") else f"./{text}"
