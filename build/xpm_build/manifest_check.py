"""Everything that is wrong with an expert's manifest: what ``xpm check`` says of it, and what
build, sign and publish refuse.

The document is held against ``expert.schema.json`` (the fields of docs/reference/formats/expert.md), then against
what the commands that read it would say, then against itself, the files beside it and the names of bases. Needs
nothing of the build extra.
"""

import copy
import difflib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from xpm_build.base.chat_templates import TEMPLATES
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import BuildError
from xpm_build.judges.languages import LANGUAGES
from xpm_build.training.settings import training_settings
from xpm_build.training.spellings import passed_over
from xpm_index.archive import MANIFEST
from xpm_index.errors import XpmError
from xpm_index.manifest import Manifest
from xpm_index.names import spellings

_SCHEMA = Path(__file__).with_name("expert.schema.json")
_READ_ELSEWHERE = ("training", "evaluation")  # by readers that know their own keys
_TEMPLATES = (*TEMPLATES, "llama2", "llama3", "vicuna", "mistral", "custom", "none")
_LIKE = 0.75
_NAMED = {"name": "expert-x", "version": "0.0.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``is_error``: a command would refuse it; otherwise it ought to be there before the expert is published.

    ``rule`` is the id of a rule of publishing, "" if it is of none.
    """

    is_error: bool
    where: str
    what: str
    hint: str = ""
    rule: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "level": "error" if self.is_error else "warning",
            "where": self.where,
            "what": self.what,
            "hint": self.hint,
        } | ({"rule": self.rule} if self.rule else {})


class UnsoundManifest(BuildError):
    """What `xpm check` finds, found by a command that goes on to build or to publish."""

    code = "invalid-expert"


def manifest_findings(
    raw: Mapping[str, Any], names: Collection[str] | None = None, *, bases: Collection[str] = ()
) -> list[Finding]:
    """All findings about a manifest's document, one for each key that is wrong.

    Args:
        names: the files beside it, or in its package; None if they are not known.
        bases: the names of the bases that there are, to say whether the expert's is one; () if they are not known.
    """
    document = dict(raw)
    findings = [
        *_against_schema(document),
        *_against_commands(document),
        *_unread(document, _schema(), ""),
        *_against_itself(document),
        *_declared_files(document, names),
        *_bases(document, bases),
    ]
    seen: dict[tuple[str, bool], Finding] = {}
    for finding in findings:  # the schema and a command may say the same of one key
        seen.setdefault((finding.where, finding.is_error), finding)
    return list(seen.values())


def require_sound(findings: Iterable[Finding], what: str) -> None:
    """Raise UnsoundManifest if any finding is an error; names them all."""
    errors = [each for each in findings if each.is_error]
    if errors:
        lines = [f"{each.where}: {each.what}" + (f" ({each.hint})" if each.hint else "") for each in errors]
        raise UnsoundManifest(
            f"{what} has {len(errors)} errors" if len(errors) > 1 else f"{what} has an error",
            context="\n".join(lines),
            hint="correct it, and see with `xpm check` whether all is well",
        )


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    return found


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(_schema())


def _against_schema(raw: dict[str, Any]) -> Iterator[Finding]:
    training = raw.get("training")
    older = training.get("decoding") if isinstance(training, dict) else None  # where older documents keep it
    for document, before in ((raw, ()), ({**_NAMED, "decoding": older}, ("training",))):
        for error in sorted(_validator().iter_errors(document), key=lambda each: list(map(str, each.absolute_path))):
            where = _key_path([*before, *error.absolute_path])
            yield Finding(is_error=True, where=where or MANIFEST, what=error.message)


def _key_path(parts: Any) -> str:
    """``base_models[0].adapters[1].type``"""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _against_commands(raw: dict[str, Any]) -> Iterator[Finding]:
    training = raw.get("training")
    readers: list[Callable[[dict[str, Any]], object]] = [Manifest, dataset_settings]
    if isinstance(training, dict) and training.get("config") is not None:
        readers.append(training_settings)
    for read in readers:
        yield from _refusals(read, raw)
    for where, why in passed_over(raw).items():
        yield Finding(is_error=False, where=where, what=f"{where} is passed over: {why}")
    evaluation = raw.get("evaluation")
    for key in evaluation if isinstance(evaluation, dict) else ():
        if key != "language" and not key.startswith("_"):
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
    """Everything that a command would refuse, though it stops at the first: what it names is taken
    out and it is asked again."""
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


def _unread(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[Finding]:
    """Keys that the schema does not have: an error if one that is missing is spelled like it, else a warning.

    Where the schema says ``additionalProperties`` people may write what they like.
    """
    schema = _resolved(schema, value)
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unread(item, schema.get("items", {}), f"{path}[{number}]")
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None or schema.get("additionalProperties"):
        return
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        if key in known:
            if key not in _READ_ELSEWHERE:
                yield from _unread(inner, known[key], where)
        elif not key.startswith(("_", "$")):
            alike = difflib.get_close_matches(key, [each for each in known if each not in value], n=1, cutoff=_LIKE)
            yield Finding(
                is_error=bool(alike),
                where=where,
                what=f"nothing reads {where}",
                hint=f"did you mean {alike[0]}?" if alike else "a comment's name begins with _",
            )


def _resolved(schema: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """What a schema's references and alternatives come to for a value."""
    if "$ref" in schema:
        return _resolved(_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]], value)
    if "anyOf" in schema:
        kind = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else ""
        resolved = [_resolved(each, value) for each in schema["anyOf"]]
        return next((each for each in resolved if kind and kind in each.get("type", ())), {})
    return schema


def _against_itself(raw: dict[str, Any]) -> Iterator[Finding]:
    own = set(spellings(str(raw.get("name", ""))))
    try:
        manifest = Manifest({**raw, "decoding": None, "routing": None})
    except XpmError:
        return  # that is said already
    for key, wanted in (
        ("requires", (*manifest.requires, *manifest.optional)),
        ("incompatible_with", manifest.incompatible_with),
    ):
        if any(own & set(each.name.spellings()) for each in wanted):
            yield Finding(
                is_error=True, where=f"constraints.{key}", what="the expert names itself", hint="take its name out"
            )
    yield from _license(manifest.license)
    for number, base in enumerate(manifest.bases):
        template = base.prompt_template
        if template not in _TEMPLATES:
            alike = difflib.get_close_matches(template.lower(), _TEMPLATES, n=1)
            yield Finding(
                is_error=bool(alike),
                where=f"base_models[{number}].prompt_template",
                what=f"prompt_template {template[:40]!r} is unknown",
                hint=f"did you mean {alike[0]}?" if alike else "prompts are made by the base's own template",
            )
    routing = raw.get("routing")
    for key in ("keywords", "exclude_keywords"):
        words = routing.get(key) if isinstance(routing, dict) else None
        if isinstance(words, list) and any(isinstance(each, str) and not each.strip() for each in words):
            yield Finding(is_error=True, where=f"routing.{key}", what="a keyword is empty", hint="take it out")


def _license(text: str) -> Iterator[Finding]:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if not text:
        return
    try:
        canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        common = (
            "MIT",
            "Apache-2.0",
            "BSD-3-Clause",
            "BSD-2-Clause",
            "ISC",
            "MPL-2.0",
            "GPL-3.0-only",
            "CC-BY-4.0",
            "CC0-1.0",
        )
        by_form = {each.lower(): each for each in common}
        alike = difflib.get_close_matches(text.lower().replace(" ", "-"), by_form, n=1)
        asked = f"did you mean {by_form[alike[0]]}? " if alike else ""
        yield Finding(
            is_error=False,
            where="license",
            what=f"{text[:60]!r} is no SPDX expression",
            hint=f"{asked}one of your own is LicenseRef-NAME",
        )


def _declared_files(raw: dict[str, Any], names: Collection[str] | None) -> Iterator[Finding]:
    """Files that the manifest names and that are not there: nothing would act where people
    believe that something does."""
    if names is None:
        return
    known = {str(PurePosixPath(name)) for name in names}
    prompts = raw.get("soft_prompts")
    for number, prompt in enumerate(prompts if isinstance(prompts, list) else ()):
        path = prompt.get("path") if isinstance(prompt, dict) else None
        if isinstance(path, str) and str(PurePosixPath(path)) not in known:
            yield Finding(
                is_error=True,
                where=f"soft_prompts[{number}].path",
                what=f"there is no file {path[:80]}",
                hint="put in what PEFT saved of the prompt, or take the entry out",
            )
    for section, at in ((raw, "decoding"), (raw.get("training"), "training.decoding")):
        decoding = section.get("decoding") if isinstance(section, dict) else None
        path = decoding.get("grammar_file") if isinstance(decoding, dict) else None
        if isinstance(path, str) and path and str(PurePosixPath(path)) not in known:
            yield Finding(
                is_error=True,
                where=f"{at}.grammar_file",
                what=f"there is no file {path[:80]}",
                hint="put it in, or take the key out",
            )


def _bases(raw: dict[str, Any], bases: Collection[str]) -> Iterator[Finding]:
    if not bases:
        return
    try:
        manifest = Manifest(raw)
    except XpmError:
        return
    for number, base in enumerate(manifest.bases):
        if base.name not in bases:
            alike = difflib.get_close_matches(base.name, bases, n=1, cutoff=0.8)
            yield Finding(
                is_error=False,
                where=f"base_models[{number}].name",
                what=f"no index here has a base named {base.name}",
                hint=f"did you mean {alike[0]}?" if alike else f"the indexes here have {', '.join(sorted(bases)[:5])}",
            )
