"""Everyday requests for functions in Python, TypeScript and Rust: to be written, completed, mended, changed, moved from
another language; and records to be defined.

``check`` holds the signature and a few calls with their results, which the Python form computed; the judge
of each language runs them.
"""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from xpm_build.domains.case import Draft
from xpm_build.domains.everyday.code_edits import edit_function
from xpm_build.domains.everyday.code_tasks import Function, draw_function, parameters, purposes_of
from xpm_build.domains.everyday.code_wording import called, third_person
from xpm_build.domains.everyday.manner import mannered
from xpm_build.domains.everyday.records import draw_kind
from xpm_build.domains.functions.task import Code
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary
from xpm_build.judges.code import Record
from xpm_build.judges.python import Python
from xpm_build.judges.rust import Rust
from xpm_build.judges.typescript import TypeScript

PHRASES = Path(__file__).with_name("code.toml")
_DEFINE_SHARE, _EDIT_SHARE, _EXAMPLE_SHARE = 0.03, 0.27, 0.22
_FORMS: dict[str, dict[str, int]] = {
    "python": {"call": 42, "def": 8, "full": 22, "stub": 7, "named": 13, "free": 4, "bare": 4},
    "typescript": {"call": 6, "typed": 45, "full": 28, "stub": 7, "named": 9, "free": 3, "bare": 12},
    "rust": {"typed": 10, "full": 70, "stub": 8, "named": 8, "free": 2, "bare": 14},
}


def make_everyday_function(words: Vocabulary, speaker: Speaker, *, language: Code) -> Draft:
    """Draw one request for a function, an edit of one, or a record."""
    rng = words.rng
    draw = rng.random()
    if draw < _DEFINE_SHARE and (made := _define(words, speaker, language)):
        return made
    function = draw_function(words.schema.choice(purposes_of(words.group)), words.schema, language)
    tests = function.tests(rng)
    in_words = speaker.say("words", name=function.name)
    if draw < _DEFINE_SHARE + _EDIT_SHARE and (edit := edit_function(function, tests, words, speaker, language)):
        prompt, written, check, family = edit
        return mannered(prompt, speaker, lang=language.spoken), written, family, check, in_words
    prompt = _request(function, tests, speaker, language)
    return (
        mannered(prompt, speaker, lang=language.spoken),
        function.written(language),
        "write",
        function.check(tests),
        in_words,
    )


def _request(function: Function, tests: list[Any], speaker: Speaker, language: Code) -> str:
    rng = speaker.rng
    forms = _FORMS[language.name]
    form = rng.choices(list(forms), weights=list(forms.values()))[0]
    do = function.said(speaker.one_of(function.purpose.do, f"do_{function.purpose.key}"))
    values = {
        "do": do,
        "Do": do[0].upper() + do[1:],
        "does": third_person(do),
        "lang": language.spoken,
        "name": function.name,
    }
    if form == "stub":
        return speaker.say("stub", code=_stub(function, language, rng.random()), **values)
    if form == "free":
        return speaker.say("do_free", **values)
    if form == "bare" and function.is_told_by_its_name:
        sig = _signature(function, language, "call" if language is Python and rng.random() < 0.5 else "full")
        prompt = speaker.say("bare", sig=sig, **values)
    elif form == "named":
        prompt = speaker.say("do_named", **values)
    else:
        kind = rng.choice(("do", "do", "does", "ask")) if function.purpose.ask else rng.choice(("do", "does"))
        if kind == "ask":
            values["ask"] = function.said(speaker.one_of(function.purpose.ask, f"ask_{function.purpose.key}"))
        prompt = speaker.say(kind, sig=_signature(function, language, form), **values)
    if rng.random() < _EXAMPLE_SHARE:
        prompt = _with_example(prompt, function, tests, speaker, language)
    return prompt


def _signature(function: Function, language: Code, form: str) -> str:
    if form == "call":
        return f"{function.name}({parameters(function.params)})"
    if form == "def":
        return f"def {function.name}({parameters(function.params)})"
    header = function.header(language)
    return header if form == "full" else re.sub(r"^\w+ ", "", header)


def _stub(function: Function, language: Code, draw: float) -> str:
    header = function.header(language)
    if language is Python:
        return f"{header}:\n    {'...' if draw < 0.4 else '# TODO' if draw < 0.7 else 'pass'}"
    if language is Rust:
        return f"{header} {{\n    {'todo!()' if draw < 0.6 else '// TODO'}\n}}"
    return f"{header} {{\n  {'// TODO' if draw < 0.7 else 'throw new Error();'}\n}}"


def _with_example(prompt: str, function: Function, tests: list[Any], speaker: Speaker, language: Code) -> str:
    arguments, result = min(tests, key=lambda test: abs(len(json.dumps(test)) - 24))
    call, returned = called(function, arguments, language), called(None, [result], language)
    if len(call) + len(returned) > 90:
        return prompt
    example = speaker.say("example", call=call, result=returned)
    return prompt.rstrip() + (example.lstrip() if "\n" in example and prompt.endswith("\n") else example)


_TYPES = {
    "int": "int",
    "id": "int",
    "count": "int",
    "pick": "int",
    "bool": "bool",
    "choice": "str",
    "date": "str",
    "time": "str",
}
_NO_FIELDS = ("list", "money", "dec", "digits")
_SAID = {
    "int": ("int", "number", "integer"),
    "str": ("str", "string", "text"),
    "bool": ("bool", "boolean", "true or false"),
}


def _define(words: Vocabulary, speaker: Speaker, language: Code) -> Draft | None:
    """A record of the fields that an everyday one has."""
    rng = words.rng
    kind = draw_kind(words, "en")
    fields = [field for field in kind.fields if field.type.split()[0] not in _NO_FIELDS]
    if len(fields) < 2:
        return None
    typed = tuple((field.key, _TYPES.get(field.type.split()[0], "str")) for field in fields)
    if any(key in ("from", "to", "type", "in", "number", "for", "where") for key, _ in typed):
        return None
    name = "".join(part.capitalize() for part in kind.name.split("_"))
    said = ", ".join(
        rng.choice(("{k} ({t})", "{k}: {t}")).replace("{k}", key).replace("{t}", rng.choice(_SAID[type_]))
        for key, type_ in typed
    )
    record = Record(name=name, fields=typed)
    thing = kind.name.replace("_", " ")
    prompt = speaker.say("define", name=name, kind=language.record_kind, lang=language.spoken, fields=said, thing=thing)
    written = ("from dataclasses import dataclass\n\n\n" if language is Python else "") + language.define(record)
    check: dict[str, object] = {"records": [record.to_check()], "define": True}
    return mannered(prompt, speaker, lang=language.spoken), written, "define", check, speaker.say("words", name=name)


make_everyday_python = partial(make_everyday_function, language=Python)
make_everyday_typescript = partial(make_everyday_function, language=TypeScript)
make_everyday_rust = partial(make_everyday_function, language=Rust)
