"""Where an expert comes from, as a person types it (docs/reference/formats/sources.md, "On the command line").

Parsing opens no socket; only local paths are looked at. Everything that can't be followed later
is refused here, as typed.
"""

import os
import re
from pathlib import Path

from xpm.errors import UsageError
from xpm.sources import (
    ARCHIVE_SUFFIX,
    BASE_SUFFIX,
    HUB,
    FromAdapter,
    FromArchive,
    FromFolder,
    FromGit,
    FromIndex,
    FromUrl,
    Source,
    check_adapter,
    check_archive_url,
    check_sha256,
)
from xpm_index.errors import XpmError
from xpm_index.requirements import Requirement
from xpm_index.urls import check_file_url, check_git_url, check_path, check_tag, shown, split_scp

_MAX_STEPS_UP = 3
_OF_ADAPTERS = ("adapter_config.json", "adapter_model.*", "adapters.safetensors")
_MANIFEST = "manifest.json"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # one letter is a drive


def parse_source(text: str, *, folder: Path, editable: bool = False, cwd: Path | None = None) -> Source:
    """Parse what a person typed: a requirement, a ``git+`` URL, an https URL, ``hf:`` and an id, or a local path.

    Args:
        folder: the project's; local paths are kept relative to it if they are near.
        editable: ``text`` is the path of a folder to be used as it is.
        cwd: what typed relative paths start from, ``folder`` if None.
    Raises:
        UsageError: it is none of these, it is not one that is followed, or the local path is not there.
    Source:
        docs/reference/formats/sources.md, "On the command line".
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
    if text.startswith(HUB):
        if editable:
            raise UsageError(f"{shown(text)} can't be editable", hint="only a local folder can: `--editable ./folder`")
        return FromAdapter(adapter=check_adapter(text))
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
    return FromUrl(url=check_archive_url(address), sha256=check_sha256(value) if hash_sign else "")


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
    kept = near(path, folder)
    if path.is_dir():
        if not editable and not (path / _MANIFEST).is_file() and any(any(path.glob(each)) for each in _OF_ADAPTERS):
            return FromAdapter(adapter=check_adapter(kept.as_posix()))
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


def near(path: Path, folder: Path) -> Path:
    """``path`` relative to ``folder`` if that takes few steps upwards, so that the two can
    move together; else absolute."""
    absolute = Path(os.path.abspath(path))
    try:
        relative = Path(os.path.relpath(absolute, os.path.abspath(folder)))
    except ValueError:  # another drive
        return absolute
    return relative if relative.parts.count("..") <= _MAX_STEPS_UP else absolute
