"""``xpm check``: everything that is wrong with an expert's folder, each with its key path.

The manifest is held against ``expert.schema.json`` (the fields of docs/formats/expert.md), then against what the commands that read
it would say, then against the files beside it.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.dataset.rows import numbered_rows, problems_of
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import BuildError
from xpm_build.evaluation.cases import WRITTEN_CASES
from xpm_build.judges.verdict import LANGUAGES
from xpm_build.training.settings import training_settings
from xpm_index.archive import MANIFEST
from xpm_index.errors import XpmError
from xpm_index.manifest import Manifest
from xpm_index.strict_json import loads

_SCHEMA = Path(__file__).with_name("expert.schema.json")
_EVALUATION = frozenset(["language"])  # what xpm reads of that section
_FILES = ("README.md", "LICENSE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``is_error``: a command would refuse it; otherwise it ought to be there before the expert is published."""

    is_error: bool
    where: str
    what: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "level": "error" if self.is_error else "warning",
            "where": self.where,
            "what": self.what,
            "hint": self.hint,
        }


def check(folder: Path) -> list[Finding]:
    """All findings, errors first.

    Raises:
        BuildError: there is no manifest, or it is no JSON object.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BuildError(f"{folder} has no {MANIFEST}", hint="start with `xpm new expert NAME`")
    raw = loads(path.read_bytes(), what=str(path))
    if not isinstance(raw, dict):
        raise BuildError(f"{path} must hold an object")
    findings = [*_against_schema(raw), *_against_commands(raw), *_completeness(raw), *_files(folder)]
    seen: dict[str, Finding] = {}
    for finding in findings:  # the schema and a command may say the same of one key
        seen.setdefault(finding.where if finding.is_error else finding.what, finding)
    return sorted(seen.values(), key=lambda each: not each.is_error)


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def _against_schema(raw: dict[str, Any]) -> Iterator[Finding]:
    for error in sorted(_validator().iter_errors(raw), key=lambda each: list(map(str, each.absolute_path))):
        yield Finding(is_error=True, where=_key_path(error.absolute_path) or MANIFEST, what=error.message)


def _key_path(parts: Any) -> str:
    """``base_models[0].adapters[1].type``"""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _against_commands(raw: dict[str, Any]) -> Iterator[Finding]:
    has_config = isinstance(raw.get("training"), dict) and raw["training"].get("config") is not None
    readers: list[Callable[[dict[str, Any]], object]] = [Manifest, dataset_settings]
    if has_config:
        readers.append(training_settings)
    for read in readers:
        yield from _refusals(read, raw)
    evaluation = raw.get("evaluation")
    for key in evaluation if isinstance(evaluation, dict) else ():
        if key not in _EVALUATION and not key.startswith("_"):
            yield Finding(is_error=False, where=f"evaluation.{key}", what=f"nothing reads evaluation.{key}")
    language = evaluation.get("language") if isinstance(evaluation, dict) else None
    if language is not None and language not in LANGUAGES:
        yield Finding(
            is_error=True,
            where="evaluation.language",
            what=f"no judge knows {language!r}",
            hint=f"one of {', '.join(LANGUAGES)}",
        )


def _refusals(read: Callable[[dict[str, Any]], object], raw: dict[str, Any]) -> Iterator[Finding]:
    """Everything that a command would refuse, though it stops at the first: what it names is taken out and it is asked again."""
    raw = copy.deepcopy(raw)
    while True:
        try:
            read(raw)
            return
        except XpmError as error:
            where = error.message.split(" ")[0].rstrip(":")
            what = error.message + (f" ({error.context})" if error.context else "")
            yield Finding(is_error=True, where=where, what=what, hint=error.hint or "")
        *path, key = where.split(".")
        section: Any = raw
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or key not in section:
            return
        del section[key]


def _completeness(raw: dict[str, Any]) -> Iterator[Finding]:
    for key, hint in (
        ("description", "say in a sentence what it does"), ("license", "an SPDX name such as Apache-2.0"),
        ("capabilities", "what it can do, as keywords"), ("training", "so that others can make it again"),
        ("limitations", "what it cannot do; `xpm validate` drafts them"),
        ("quality_metrics", "`xpm validate` writes them"),
    ):  # fmt: skip
        if not raw.get(key):
            yield Finding(is_error=False, where=key, what=f"{key} is empty", hint=hint)
    routing = raw.get("routing")
    if not (isinstance(routing, dict) and routing.get("keywords")):
        yield Finding(
            is_error=False, where="routing.keywords", what="routing.keywords is empty", hint="no prompt will choose it"
        )


def _files(folder: Path) -> Iterator[Finding]:
    for name in _FILES:
        if not (folder / name).is_file():
            yield Finding(is_error=False, where=name, what=f"{name} is missing")
    cases = folder / WRITTEN_CASES
    if not cases.is_file():
        yield Finding(is_error=False, where=str(WRITTEN_CASES), what=f"{WRITTEN_CASES} is missing")
        return
    try:
        for number, row in numbered_rows(cases):
            for problem in problems_of(row):
                yield Finding(is_error=True, where=f"{WRITTEN_CASES}:{number}", what=problem)
    except BuildError as error:
        yield Finding(is_error=True, where=str(WRITTEN_CASES), what=error.message)
