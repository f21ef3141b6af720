"""Given code to be changed in one respect, and records to be defined."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from xpm_build.domains.case import Draft
from xpm_build.domains.functions.task import RESERVED, Author, Task, Text
from xpm_build.domains.functions.writing import write
from xpm_build.judges.code import Record
from xpm_build.judges.python import Python


def define_record(author: Author) -> Draft:
    words, speaker, language = author.words, author.speaker, author.language
    while (name := words.table()) in RESERVED:
        pass
    kinds = [words.schema.choice(("int", "str", "str", "bool")) for _ in range(words.schema.randint(2, 5))]
    fields = tuple((author.number() if kind == "int" else author.text(), kind) for kind in kinds)
    record = Record(name=name.capitalize(), fields=fields)
    said = ", ".join(speaker.say(f"field_{kind}", name=each) for each, kind in fields)
    prompt = speaker.say("define", name=record.name, kind=language.record_kind, lang=language.spoken, fields=said)
    check: dict[str, object] = {"records": [record.to_check()], "define": True}
    return speaker.end(prompt), language.define(record), "define", check, speaker.say("words", name=record.name)


def edit_function(author: Author, name: str, task: Task) -> Draft:
    """The function is given; one thing about it is to be changed."""
    rng, speaker, words = author.words.rng, author.speaker, author.words
    before, _ = write(author, name, task.params, task)
    numbers = [re.findall(r"(?<![\w.\"'])\d+(?![\w.\"'])", text) for text in task.body.texts()]
    kinds = ["rename_function", "rename_parameter"]
    if numbers[0] == numbers[1] == numbers[2] and len(numbers[0]) == 1 and numbers[0][0] != "0":
        kinds += ["change_number"] * 2
    if (
        task.params[0][1].startswith("[")
        and task.returns in ("int", "bool", "str")
        and task.body.python.count("\n") == 0
    ):
        kinds += ["guard"] * 2
    kind = rng.choice(kinds)
    if kind == "rename_function":
        new = author.name(words.function_name)
        after, check = write(author, new, task.params, task)
        prompt = speaker.say(kind, b=new, code=before)
    elif kind == "rename_parameter":
        old, type_ = rng.choice(task.params)
        new = author.items() if type_.startswith(("[", "{")) else author.number() if type_ == "int" else author.text()
        after, check = _rewrite(author, name, task, lambda text: _renamed(text, old, new))
        check["named"] = [new]  # calls alone would not tell
        prompt = speaker.say(kind, a=old, b=new, code=before)
    elif kind == "change_number":
        old = numbers[0][0]
        new = str(rng.choice([each for each in range(2, 60) if str(each) != old]))
        after, check = _rewrite(author, name, task, lambda text: re.sub(rf"\b{old}\b", new, text))
        prompt = speaker.say(kind, a=old, b=new, code=before)
    else:
        after, check, default = _guarded(author, name, task)
        prompt = speaker.say(kind, n=default, a=task.params[0][0], code=before)
    return prompt, after, "edit", check, speaker.say("words", name=name)


def _renamed(text: str, old: str, new: str) -> str:
    """``text`` with another name for a parameter; a field or method of the same name, behind one dot, keeps its own."""
    return re.sub(rf"(?<!(?<!\.)\.)\b{old}\b", new, text)


def _rewrite(author: Author, name: str, task: Task, change: Callable[[str], str]) -> tuple[str, dict[str, object]]:
    changed = Task(
        does="",
        params=tuple((change(each), type_) for each, type_ in task.params),
        returns=task.returns,
        body=Text(change(task.body.python), change(task.body.typescript), change(task.body.rust)),
        draw_arguments=task.draw_arguments,
    )
    return write(author, name, changed.params, changed)


def _guarded(author: Author, name: str, task: Task) -> tuple[str, dict[str, object], str]:
    """The task with an early return for an empty list."""
    rng, items = author.words.rng, task.params[0][0]
    value = {
        "int": str(rng.randint(0, 9)),
        "bool": rng.choice(("true", "false")),
        "str": f'"{author.words.invented(rng)}"',
    }
    default = value[task.returns]
    python = default.capitalize() if task.returns == "bool" else default
    rust = f"{default}.to_string()" if task.returns == "str" else default
    body = Text(
        f"if not {items}:\n    return {python}\n{task.body.python}",
        f"if ({items}.length === 0) {{\n  return {default};\n}}\n{task.body.typescript}",
        f"if {items}.is_empty() {{\n    return {rust};\n}}\n{task.body.rust}",
    )
    drawn: Iterator[list[Any]] = iter([[]])

    def arguments() -> list[Any]:
        values = task.draw_arguments()
        return [next(drawn, values[0]), *values[1:]]

    guarded = Task(does="", params=task.params, returns=task.returns, body=body, draw_arguments=arguments)
    written, check = write(author, name, task.params, guarded)
    return written, check, python if author.language is Python else default
