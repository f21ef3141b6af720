"""Where an expert comes from, as typed on a command line and as kept in xpm.toml (docs/formats/sources.md).

Parsing opens no socket; only local paths are looked at. Everything that can't be followed later is refused here, as typed.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm.errors import UsageError
from xpm_index.errors import XpmError
from xpm_index.fields import Fields
from xpm_index.names import ExpertName
from xpm_index.requirements import Requirement
from xpm_index.urls import (
    InvalidUrl,
    check_file_url,
    check_git_url,
    check_path,
    check_tag,
    check_web_url,
    shown,
    split_scp,
)
from xpm_index.versions import VersionRange

ARCHIVE_SUFFIX = ".expert"
BASE_SUFFIX = ".base"
_MAX_STEPS_UP = 3
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # one letter is a drive
_KINDS: dict[str, set[str]] = {
    "version": {"index"},
    "git": {"tag", "path"},
    "url": {"sha256"},
    "archive": set(),
    "folder": {"editable"},
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


Direct = FromGit | FromUrl | FromArchive | FromFolder
Source = FromIndex | Direct


def parse_source(text: str, *, folder: Path, editable: bool = False, cwd: Path | None = None) -> Source:
    """Parse what a person typed: a requirement, a ``git+`` URL, an https URL, or a local path.

    Args:
        folder: the project's; local paths are kept relative to it if they are near.
        editable: ``text`` is the path of a folder to be used as it is.
        cwd: what typed relative paths start from, ``folder`` if None.
    Raises:
        UsageError: it is none of these, it is not one that is followed, or the local path is not there.
    Source:
        docs/formats/sources.md, "On the command line".
    """
    text = text.strip()
    if not text or text.startswith("-") or not text.isprintable():
        raise UsageError(
            f"{text[:80]!r} does not say where an expert comes from", hint="write a name, a git+https:// URL or a path"
        )
    try:
        return _parse(text, folder, editable, cwd or folder)
    except UsageError:
        raise
    except XpmError as error:
        raise UsageError(error.message, context=error.context, hint=error.hint) from error


def _parse(text: str, folder: Path, editable: bool, cwd: Path) -> Source:
    remote = text.startswith("git+") or _SCHEME.match(text) or split_scp(text.partition("#")[0])
    if remote and not text.startswith("file:"):
        if editable:
            raise UsageError(f"{shown(text)} can't be editable", hint="only a local folder can: `--editable ./folder`")
        return _parse_remote(text)
    if text.startswith("file:"):
        return _parse_local(Path(check_file_url(text)), folder, editable)
    if (
        editable
        or text.startswith((".", "/", "~"))
        or text.endswith((ARCHIVE_SUFFIX, BASE_SUFFIX, "/"))
        or "\\" in text
    ):
        return _parse_local(cwd / os.path.expanduser(text), folder, editable)
    name, _, rest = text.partition("@")
    if rest.strip().startswith("git+") or "://" in rest:
        raise UsageError(f"{name.strip()[:80]!r} stands before a URL", hint="leave it out: the manifest has the name")
    try:
        return FromIndex(requirement=Requirement.parse(text))
    except XpmError as error:
        hint = f"for the local path, write ./{text}" if (cwd / text).exists() else error.hint
        raise UsageError(error.message, context=error.context, hint=hint) from error


def _parse_remote(text: str) -> Source:
    scheme = text.partition(":")[0].lower()
    if text.startswith("git+") or "://" not in text:
        return _parse_git(text.removeprefix("git+"))
    if scheme not in ("https", "http"):
        hint = (
            f"for a Git repository, write git+{scheme}://…@<tag>" if scheme == "ssh" else "use https:// or git+https://"
        )
        raise UsageError(f"{shown(text)} is of an unknown kind", hint=hint)
    address, hash_sign, fragment = text.partition("#")
    name, equals, value = fragment.partition("=")
    if hash_sign and (name != "sha256" or not equals):
        raise UsageError(f"{shown(text)} has an unknown part after `#`", hint="write …#sha256=<64 hex digits>")
    return FromUrl(url=_archive_url(address), sha256=_sha256(value) if hash_sign else "")


def _parse_git(text: str) -> FromGit:
    address, _, subpath = text.partition("#")
    scheme, separator, rest = address.rpartition("://")
    host, slash, path = rest.partition("/" if separator else ":")
    path, at, tag = path.partition("@")
    url = check_git_url(f"{scheme}{separator}{host}{slash}{path}")
    if not at:
        raise UsageError(
            f"{shown(url)} names no tag, so it could be something else tomorrow",
            hint=f"write git+{url}@<tag>, e.g. @v1.0.0",
        )
    subpath = subpath.removeprefix("subdirectory=").strip("/")
    return FromGit(url=url, tag=check_tag(tag), subpath=check_path(subpath) if subpath else "")


def _parse_local(path: Path, folder: Path, editable: bool) -> Source:
    kept = _near(path, folder)
    if path.is_dir():
        if not editable:
            raise UsageError(
                f"{path} is a folder",
                context="a folder can change after it was installed, an archive can't",
                hint=f"to use it as it is, add --editable; else build it and name the {ARCHIVE_SUFFIX} file",
            )
        return FromFolder(path=kept)
    if not path.exists():
        raise UsageError(f"there is no {path}", hint="for an index's expert, write its name alone")
    if editable:
        raise UsageError(f"{path} is not a folder", hint="only a folder can be editable; leave --editable out")
    if path.suffix not in (ARCHIVE_SUFFIX, BASE_SUFFIX) or not path.is_file():
        hint = f"build one with `xpm build expert` or `xpm build base`: a {ARCHIVE_SUFFIX} or {BASE_SUFFIX} file"
        raise UsageError(f"{path} is not an archive", hint=hint)
    return FromArchive(path=kept)


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
            sha256 = fields.parsed("sha256", _sha256) if "sha256" in fields.raw else ""
            return FromUrl(url=fields.parsed("url", _archive_url), sha256=sha256)
        case "archive":
            return FromArchive(path=fields.parsed("archive", lambda text: _local_path(text, ARCHIVE_SUFFIX)))
    if fields.raw.get("editable") is not True:
        hint = f"or build it and name the {ARCHIVE_SUFFIX} file"
        raise fields.error(f"{fields.path} is a folder without `editable = true`", hint=hint)
    return FromFolder(path=fields.parsed("folder", _local_path))


def base_archive(base: Fields) -> FromArchive | None:
    """Parse ``archive`` of ``[base]``, None if it is not there; raises ``base.error`` if it is malformed."""
    if "archive" not in base.raw:
        return None
    return FromArchive(path=base.parsed("archive", lambda text: _local_path(text, BASE_SUFFIX)))


def _requirement(name: str, fields: Fields, key: str) -> Requirement:
    def parse(text: str) -> Requirement:
        return Requirement(ExpertName.parse(name), VersionRange.parse(text))

    return fields.parsed(key, parse)


def _git_url(url: str) -> str:
    return check_git_url(url.removeprefix("git+"))


def _archive_url(url: str) -> str:
    if not check_web_url(url).partition("?")[0].endswith(ARCHIVE_SUFFIX):
        raise InvalidUrl(
            f"{shown(url)} is not an archive",
            hint=f"name a {ARCHIVE_SUFFIX} file; for a Git repository, write git+https://…@<tag>",
        )
    return url


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text.lower()):
        raise InvalidUrl(f"sha256 is {text[:80]!r}", hint="it is 64 hex digits")
    return text.lower()


def _local_path(text: str, suffix: str = "") -> Path:
    if not text.isprintable() or not text.endswith(suffix):
        raise InvalidUrl(f"{text[:80]!r} is not the path of a {suffix or 'folder'}")
    return Path(text)


def _near(path: Path, folder: Path) -> Path:
    """``path`` relative to ``folder`` if that takes few steps upwards, so that the two can move together; else absolute."""
    absolute = Path(os.path.abspath(path))
    try:
        relative = Path(os.path.relpath(absolute, os.path.abspath(folder)))
    except ValueError:  # another drive
        return absolute
    return relative if relative.parts.count("..") <= _MAX_STEPS_UP else absolute


def _typed(path: Path) -> str:
    """A path so that it is not taken for a name."""
    text = path.as_posix()
    return text if path.is_absolute() or text.startswith(".") else f"./{text}"
