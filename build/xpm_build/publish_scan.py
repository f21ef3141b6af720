"""What a package must not hold, and ought to, before others get it: the rules of ``xpm check
--publish`` and ``xpm publish``.

The manifest's own rules are in ``xpm_build.manifest_check``; these look at the files beside it and at what else is
published. Needs nothing of the build extra.
"""

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from xpm_build.base.safetensors_file import StoredTensor, stored_tensors
from xpm_build.errors import BuildError
from xpm_build.manifest_check import Finding
from xpm_index.archive import MANIFEST
from xpm_index.errors import XpmError
from xpm_index.manifest import Manifest
from xpm_index.names import spellings

README = "README.md"
PACKED = (MANIFEST, README, "LICENSE", "grammar.*", "adapter_config.json", "adapter_model.safetensors")
"""The files of an expert's folder that `xpm build` puts into its package."""
_DATA = frozenset({".safetensors", ".json", ".jsonl", ".md", ".txt", ".gbnf", ".lark", ".regex", ".toml", ".csv", ""})
_OF_BASES = frozenset({".onnx", ".onnx_data", ".jinja", ".model"})
_TEXT = _DATA - {".safetensors"}
_MAX_TEXT_BYTES = 8 << 20
_MAX_FILE_BYTES = 4 << 30
_MAX_DIMENSIONS, _MAX_TENSORS, _MAX_NAME = 8, 20_000, 256
_PRINTABLE = re.compile(r"[ -~]+")
_LIKE = 0.9
_LOOK_ALIKES = str.maketrans("01358", "olesb", "-")
_EXAMPLE = re.compile(r"^```prompt\s*$", re.MULTILINE)
_SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----",
    "a private key of xpm": r'"format"\s{0,9}:\s{0,9}"xpm-key-1"',
    "a key of AWS": r"\bAKIA[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{34}\b",
    "a key of an LLM provider": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of Slack": r"\bxox[abpr]-[0-9A-Za-z-]{20}",
    "a login in an address": r"\bhttps?://[^/\s:@]{1,64}:[^/\s:@]{3,64}@",
}
_PATTERNS = {what: re.compile(pattern) for what, pattern in _SECRETS.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """``is_error``: it is not published; else the maintainer who accepts it decides. ``reason`` is
    for people, ``remedy`` too."""

    is_error: bool
    reason: str
    remedy: str


RULES = {
    "file-kind": Rule(True, "a file of a kind that programs run or unpickle", "take it out: weights are safetensors"),
    "file-size": Rule(True, "an expert's file of more than 4 GiB", "lower the rank, or store it in 16 bits"),
    "tensor-file": Rule(True, "a safetensors file that can't be read", "save it anew"),
    "tensor-name": Rule(True, "a tensor's name of other than 1 to 256 printable ASCII characters", "rename it"),
    "tensor-shape": Rule(True, "a tensor that is empty, or more than 8 dimensions or 20,000 tensors", "save it anew"),
    "tensor-finite": Rule(True, "a weight that is NaN or infinite", "train anew with a lower learning rate"),
    "grammar": Rule(True, "a grammar that is missing or does not compile", "correct it; `xpm build expert` says where"),
    "secret": Rule(True, "a text that holds a key, a token or a login", "take it out, and revoke it: others saw it"),
    "license-missing": Rule(False, "no licence is stated", "say under which one others may use it, as SPDX"),
    "readme-missing": Rule(False, "there is no README.md", "say what it does, how well, and what it can't do"),
    "readme-examples": Rule(False, "the README has no example", "put a ```prompt block before a block with the answer"),
    "readme-answers": Rule(
        False, "the README's examples are answered otherwise", "show what it writes, at temperature 0"
    ),
    "name-close": Rule(False, "somebody else publishes a name that can be taken for it", "choose a name of its own"),
}


class RefusedPackage(BuildError):
    """What the rules of publishing call an error."""

    code = "refused-package"


def scan(
    folder: Path, manifest: Manifest, *, others: Collection[str] = (), patterns: Collection[str] = ("*",)
) -> list[Finding]:
    """All findings about a package's files, errors first.

    Args:
        folder: where they lie unpacked.
        others: names that are published by somebody else.
        patterns: which files of the folder are the package's, by name.
    """
    found = {path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()}
    files = {path.relative_to(folder).as_posix(): path for path in sorted(found)}
    findings = [
        each
        for name, path in files.items()
        for each in (*_kinds(name, path, manifest), *_tensors(name, path), *_secrets(name, path))
    ]
    findings += _completeness(manifest, files)
    findings += _names(manifest.name, others)
    if manifest.kind == "expert":
        findings += _grammar(folder, manifest)
    return sorted(findings, key=lambda each: not each.is_error)


def require_safe(findings: Collection[Finding], what: str) -> None:
    """Raise RefusedPackage if any finding is an error; names them all with their rules."""
    errors = [each for each in findings if each.is_error]
    if errors:
        raise RefusedPackage(
            f"{what} is not published: {len(errors)} finding{'s' if len(errors) > 1 else ''}",
            context="\n".join(f"[{each.rule}] {each.where}: {each.what} ({each.hint})" for each in errors),
            hint="correct it and build it anew; `xpm check --publish` runs the same rules",
        )


def rules_table() -> str:
    """Markdown: every rule."""
    rows = [
        f"| `{id}` | {'error' if rule.is_error else 'warning'} | {rule.reason} | {rule.remedy} |"
        for id, rule in RULES.items()
    ]
    return "\n".join(["| rule | severity | found | what to do |", "|---|---|---|---|", *rows])


def finding(rule: str, where: str, what: str = "") -> Finding:
    """What a rule found at ``where``; in the rule's own words, if there are none more exact."""
    known = RULES[rule]
    return Finding(is_error=known.is_error, where=where[:200], what=what or known.reason, hint=known.remedy, rule=rule)


def _kinds(name: str, path: Path, manifest: Manifest) -> Iterator[Finding]:
    is_base = manifest.kind == "base"
    is_known = path.suffix.lower() in _DATA | (_OF_BASES if is_base else frozenset())
    if not is_known and name != manifest.decoding.get("grammar_file"):
        yield finding("file-kind", name)
    if not is_base and path.stat().st_size > _MAX_FILE_BYTES:
        yield finding("file-size", name)


def _tensors(name: str, path: Path) -> Iterator[Finding]:
    if path.suffix != ".safetensors":
        return
    try:
        tensors = stored_tensors(path)
    except (OSError, SafetensorError, ValueError, LookupError) as error:
        yield finding("tensor-file", name, f"it can't be read: {str(error)[:100]}")
        return
    if len(tensors) > _MAX_TENSORS:
        yield finding("tensor-shape", name, f"it has {len(tensors)} tensors")
    for tensor_name, tensor in tensors.items():
        where = f"{name}: {tensor_name[:80]!r}"
        if len(tensor_name) > _MAX_NAME or not _PRINTABLE.fullmatch(tensor_name) or ".." in tensor_name:
            yield finding("tensor-name", where)
        if 0 in tensor.shape or len(tensor.shape) > _MAX_DIMENSIONS:
            yield finding("tensor-shape", where, f"its shape is {list(tensor.shape)}")
        elif not _is_finite(tensor):
            yield finding("tensor-finite", where)


def _is_finite(tensor: StoredTensor) -> bool:
    return not tensor.is_float or bool(np.isfinite(tensor.read()).all())


def _secrets(name: str, path: Path) -> Iterator[Finding]:
    if path.suffix.lower() not in _TEXT or path.stat().st_size > _MAX_TEXT_BYTES:
        return
    text = path.read_bytes().decode("utf-8", "replace")
    for what, pattern in _PATTERNS.items():
        if found := pattern.search(text):
            yield finding("secret", f"{name}:{text.count(chr(10), 0, found.start()) + 1}", f"it looks like {what}")


def _completeness(manifest: Manifest, files: dict[str, Path]) -> Iterator[Finding]:
    if not manifest.license:
        yield finding("license-missing", MANIFEST)
    if README not in files:
        yield finding("readme-missing", README)
    elif manifest.kind == "expert" and not _EXAMPLE.search(files[README].read_bytes().decode("utf-8", "replace")):
        yield finding("readme-examples", README)


def _names(name: str, others: Collection[str]) -> Iterator[Finding]:
    if alike := names_like(name, others):
        yield finding("name-close", "name", f"there is {', '.join(alike)} by somebody else")


def names_like(name: str, others: Collection[str]) -> list[str]:
    """The names among ``others`` that people may take for this one, at most three."""
    own = _seen(name)
    seen: dict[str, str] = {_seen(other): other for other in others if other != name}
    return [seen[each] for each in difflib.get_close_matches(own, seen, n=3, cutoff=_LIKE)]


def _seen(name: str) -> str:
    """A name as a reader sees it who does not look twice."""
    return min(spellings(name), key=len).translate(_LOOK_ALIKES)


def _grammar(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    from xpm_build.grammar_check import check_grammar

    try:
        check_grammar(folder, manifest, lambda text: None)
    except XpmError as error:
        yield finding("grammar", "decoding", error.message)
    except BuildError as error:
        yield finding("grammar", "decoding", f"{error.message}{f': {error.context}' if error.context else ''}"[:300])
