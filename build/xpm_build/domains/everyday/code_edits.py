"""Functions that are given and to be changed: mended, adapted, renamed, moved from another
language, typed, documented."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xpm_build.domains.everyday.code_tasks import Function
from xpm_build.domains.everyday.code_wording import called, third_person
from xpm_build.domains.functions.task import Code
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary
from xpm_build.judges.python import Python
from xpm_build.judges.rust import Rust
from xpm_build.judges.typescript import TypeScript

Edit = tuple[str, str, dict[str, object], str]
"""A prompt, the answer, its check and the family."""

_LANGUAGES: tuple[Code, ...] = (Python, TypeScript, Rust)


def edit_function(
    function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code
) -> Edit | None:
    """One edit; None if the one that was drawn does not apply to the function."""
    make = words.rng.choice(_EDITS)
    return make(function, tests, words, speaker, language)


def _said(function: Function, speaker: Speaker) -> dict[str, str]:
    do = function.said(speaker.one_of(function.purpose.do, f"do_{function.purpose.key}"))
    return {"do": do, "Do": do[0].upper() + do[1:], "does": third_person(do)}


def _fenced(code: str, speaker: Speaker, language: Code) -> str:
    return f"```{language.name}\n{code}\n```" if speaker.rng.random() < 0.2 else code


# Slips as (Python, TypeScript, Rust), right and wrong.
_SLIPS: tuple[tuple[tuple[str, str, str], tuple[str, str, str]], ...] = (
    ((" < ",) * 3, (" > ",) * 3),
    ((" > ",) * 3, (" < ",) * 3),
    ((" <= ",) * 3, (" < ",) * 3),
    ((" >= ",) * 3, (" > ",) * 3),
    ((" < ",) * 3, (" <= ",) * 3),
    ((" > ",) * 3, (" >= ",) * 3),
    ((" == ", " === ", " == "), (" != ", " !== ", " != ")),
    ((" != ", " !== ", " != "), (" == ", " === ", " == ")),
    ((" + 1",) * 3, ("",) * 3),
    ((" - 1",) * 3, ("",) * 3),
    ((" + ",) * 3, (" - ",) * 3),
    ((" - ",) * 3, (" + ",) * 3),
    ((" * ",) * 3, (" + ",) * 3),
    ((" += ",) * 3, (" = ",) * 3),
    (("min(", "Math.min(", "min("), ("max(", "Math.max(", "max(")),
    (("max(", "Math.max(", "max("), ("min(", "Math.min(", "min(")),
    (("any(", ".some(", ".any("), ("all(", ".every(", ".all(")),
    (("all(", ".every(", ".all("), ("any(", ".some(", ".any(")),
    ((" % 2 == 0", " % 2 === 0", " % 2 == 0"), (" % 2 == 1", " % 2 === 1", " % 2 == 1")),
    (("not ", "!", "!"), ("",) * 3),
    ((" and ", " && ", " && "), (" or ", " || ", " || ")),
    ((" or ", " || ", " || "), (" and ", " && ", " && ")),
    (("upper", "toUpperCase", "to_uppercase"), ("lower", "toLowerCase", "to_lowercase")),
    (("lower", "toLowerCase", "to_lowercase"), ("upper", "toUpperCase", "to_uppercase")),
    (("return 0", "return 0", "return 0"), ("return 1", "return 1", "return 1")),
    ((" = 0", " = 0", " = 0"), (" = 1", " = 1", " = 1")),
    ((" = 1", " = 1", " = 1"), (" = 0", " = 0", " = 0")),
)


def _fix(function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code) -> Edit | None:
    rng = words.rng
    at = _LANGUAGES.index(language)
    python, own = function.body(Python), function.body(language)
    for right, wrong in rng.sample(_SLIPS, len(_SLIPS)):
        if right[0] not in python or own.count(right[at]) != 1:
            continue
        shown = _disagreement(function, tests, python.replace(right[0], wrong[0], 1))
        if shown is None:
            continue
        broken = function.written(language, body=own.replace(right[at], wrong[at], 1))
        code = _fenced(broken, speaker, language)
        arguments, wanted, got = shown
        values = _said(function, speaker)
        if language is Python and got is not _FAILED and rng.random() < 0.4:
            call, result = called(function, arguments, language), called(None, [wanted], language)
            prompt = speaker.say("fix_shown", code=code, call=call, result=result, got=repr(got), **values)
        else:
            prompt = speaker.say("fix", code=code, **values)
        return prompt, function.written(language), function.check(tests), "fix"
    return None


_FAILED = object()


def _disagreement(function: Function, tests: list[Any], body: str) -> tuple[list[Any], Any, Any] | None:
    """(arguments, wanted result, result of another body) of a call on which they differ."""
    try:
        call = function.callable(body)
    except SyntaxError:
        return None
    for arguments, wanted in tests:
        got: Any = _FAILED
        if "while" in body:  # which a slip may keep from ending
            continue
        try:
            got = call(*(list(each) if isinstance(each, list) else each for each in arguments))
        except Exception:  # whatever wrong code raises
            return arguments, wanted, _FAILED
        if got != wanted:
            return arguments, wanted, got
    return None


def _forgotten(
    function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code
) -> Edit | None:
    """The last line without what makes it the result."""
    own = function.body(language)
    head, _, last = own.rpartition("\n")
    if language is Rust:
        if last.endswith((";", "}")):
            return None
        broken = f"{last};"
    else:
        if not last.startswith("return "):
            return None
        broken = last.removeprefix("return ")
    code = function.written(language, body=f"{head}\n{broken}".lstrip("\n"))
    prompt = speaker.say("fix", code=_fenced(code, speaker, language), **_said(function, speaker))
    return prompt, function.written(language), function.check(tests), "fix"


def _syntax(function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code) -> Edit | None:
    whole = function.written(language)
    if language is Python:
        broken = words.rng.choice(
            (whole.replace(":\n", "\n", 1), re.sub(r"\)$", "", whole), re.sub(r"\) ->", " ->", whole, count=1))
        )
    else:
        broken = words.rng.choice(
            (whole.removesuffix("\n}"), whole.replace(" {\n", "\n", 1), re.sub(r"\)(:| ->)", r"\1", whole, count=1))
        )
    if broken == whole:
        return None
    return speaker.say("syntax", code=_fenced(broken, speaker, language)), whole, function.check(tests), "fix"


def _change(function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code) -> Edit | None:
    """Another alternative of one axis."""
    rng = words.rng
    axes = [axis for axis in function.purpose.axes if len(axis) > 1]
    if not axes:
        return None
    axis = rng.choice(axes)
    other = rng.choice(
        [each for each in axis if any(function.variant.get(key) != value for key, value in each.items())]
    )
    changed = replace(function, variant=function.variant | other)
    code = function.written(language)
    if changed.written(language) == code:
        return None
    prompt = speaker.say("change", code=_fenced(code, speaker, language), **_said(changed, speaker))
    return prompt, changed.written(language), changed.check(changed.tests(rng)), "change"


def _rename(function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code) -> Edit | None:
    names = [name for name in function.purpose.names_of(function.variant) if name != function.name]
    if not names or "_" not in function.name:
        return None
    renamed = replace(function, name=words.rng.choice(names))
    code = _fenced(function.written(language), speaker, language)
    return speaker.say("rename", b=renamed.name, code=code), renamed.written(language), renamed.check(tests), "rename"


def _rename_parameter(
    function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code
) -> Edit | None:
    rng = words.rng
    number = rng.randrange(len(function.params))
    old, type_ = function.params[number]
    taken = [name for name, _ in function.params]
    usable = [
        each for each in function.purpose.params[number][0] if each not in taken and each not in function.purpose.locals
    ]
    if not usable:
        return None
    params = list(function.params)
    params[number] = (rng.choice(usable), type_)
    renamed = replace(function, params=tuple(params))
    check = renamed.check(tests) | {"named": [params[number][0]]}  # calls alone would not tell
    code = _fenced(function.written(language), speaker, language)
    prompt = speaker.say("rename_parameter", a=old, b=params[number][0], code=code)
    return prompt, renamed.written(language), check, "rename"


def _translate(
    function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code
) -> Edit | None:
    other = words.rng.choice([each for each in _LANGUAGES if each is not language])
    code = _fenced(function.written(other), speaker, other)
    prompt = speaker.say("translate", code=code, lang=language.spoken, other=other.spoken)
    return prompt, function.written(language), function.check(tests), "translate"


_TYPESCRIPT_ONLY = re.compile(r": (number|string|boolean|Record|\[)|<number>|<string>|!| as \[")


def _add_types(
    function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code
) -> Edit | None:
    body = function.body(language)
    if language is Rust or (language is TypeScript and _TYPESCRIPT_ONLY.search(body)):
        return None
    listed = ", ".join(name for name, _ in function.params)
    start = f"def {function.name}({listed})" if language is Python else f"function {function.name}({listed})"
    facts = ", ".join(f"{name} is {_type_said(type_)}" for name, type_ in function.params)
    facts = f"{facts[0].upper()}{facts[1:]}, the result {_type_said(function.purpose.returns)}."
    code = _fenced(function.written(language).replace(function.header(language), start), speaker, language)
    return speaker.say("add_types", code=code, facts=facts), function.written(language), function.check(tests), "types"


def _type_said(type_: str) -> str:
    if type_.endswith("?"):
        return f"{_type_said(type_[:-1])} or nothing"
    if type_.startswith("["):
        return "a list of " + {"int": "whole numbers", "str": "texts", "bool": "booleans"}.get(
            type_[1:-1], "lists of numbers"
        )
    return {"int": "a whole number", "str": "a text", "bool": "a boolean", "{int}": "a map from texts to numbers"}[
        type_
    ]


def _document(function: Function, tests: list[Any], words: Vocabulary, speaker: Speaker, language: Code) -> Edit | None:
    text = third_person(function.said(speaker.one_of(function.purpose.do, f"do_{function.purpose.key}"))).rstrip(".")
    text = text[0].upper() + text[1:] + "."
    if '"' in text or "\\" in text or "*/" in text:
        return None
    whole, header = function.written(language), function.header(language)
    if language is Python:
        documented = whole.replace(f"{header}:\n", f'{header}:\n    """{text}"""\n', 1)
    else:
        documented = whole.replace(
            header, (f"/** {text} */\n" if language is TypeScript else f"/// {text}\n") + header, 1
        )
    named = [word for word in re.findall(r"[A-Za-z]{5,}", text) if not re.search(rf"\b{word}\b", whole)][:2]
    check = function.check(tests) | ({"named": named} if named else {})
    return speaker.say("document", doc=text, code=_fenced(whole, speaker, language)), documented, check, "document"


_EDITS: tuple[Callable[[Function, list[Any], Vocabulary, Speaker, Code], Edit | None], ...] = (
    _fix,
    _fix,
    _fix,
    _forgotten,
    _syntax,
    _change,
    _change,
    _change,
    _rename,
    _rename_parameter,
    _translate,
    _translate,
    _add_types,
    _document,
)
