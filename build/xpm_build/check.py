"""``xpm check``: everything that is wrong with an expert's folder: its manifest, the files beside it,
and what is still missing."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from xpm_build.errors import BuildError
from xpm_build.evaluation.cases import WRITTEN_CASES
from xpm_build.manifest_check import Finding, manifest_findings
from xpm_build.rows import numbered_rows, problems_of
from xpm_index.archive import MANIFEST
from xpm_index.strict_json import loads

_FILES = ("README.md", "LICENSE")


def check(folder: Path, *, bases: Collection[str] = ()) -> list[Finding]:
    """All findings, errors first; ``bases`` are the names of the bases that there are, () if that is not known.

    Raises:
        BuildError: there is no manifest, or it is no JSON object.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BuildError(f"{folder} has no {MANIFEST}", hint="start with `xpm new expert NAME`")
    raw = loads(path.read_bytes(), what=str(path))
    if not isinstance(raw, dict):
        raise BuildError(f"{path} must hold an object")
    names = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}
    findings = [*manifest_findings(raw, names, bases=bases), *_completeness(raw), *_files(folder)]
    seen: dict[tuple[str, bool], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.where, finding.is_error), finding)
    return sorted(seen.values(), key=lambda each: not each.is_error)


def _completeness(raw: dict[str, Any]) -> Iterator[Finding]:
    for key, hint in (
        ("description", "say in a sentence what it does"),
        ("license", "an SPDX name such as Apache-2.0"),
        ("capabilities", "what it can do, as keywords"),
        ("training", "so that others can make it again"),
        ("limitations", "what it cannot do; `xpm validate` drafts them"),
        ("quality_metrics", "`xpm validate` writes them"),
    ):
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
