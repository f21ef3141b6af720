"""The rows of a data set: JSON lines on disk, whatever form they came in.

A row has ``prompt`` and ``completion``, or ``messages``, or ``prompt``, ``chosen`` and ``rejected``, or ``text``. Other
keys (``family``, ``group``, ``phrasing``, ``check``, ...) are kept: the split, the statistics and the judges read them.
"""

import filecmp
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, zip_longest
from itertools import count as count_from
from pathlib import Path
from typing import Any

from xpm_build.errors import DatasetError
from xpm_build.json_lines import object_in

Row = dict[str, Any]

# The order in which fields are looked for, when no mapping says where they are.
_PROMPT_KEYS = ("instruction", "prompt", "question", "text", "sql_prompt")
_INPUT_KEYS = ("input", "context", "schema")
_COMPLETION_KEYS = ("completion", "response", "output", "answer", "cypher", "sql", "text")
_LABELS = ("family", "group", "phrasing", "difficulty", "language", "check")
MAPPED_KEYS = ("prompt", "input", "completion", "messages", "chosen", "rejected", "text", *_LABELS)
_FORMS = (("prompt", "completion"), ("prompt", "chosen", "rejected"), ("messages",), ("text",))
_OF_OTHER_FORMS = frozenset(chain(*_FORMS)) - {"text"}


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSON-lines file, one after the other.

    Raises:
        DatasetError: the file is missing, or a line is not a JSON object; names the line.
    """
    return (row for _, row in numbered_rows(path))


def read_sound_rows(path: Path, *, asked: bool = False) -> Iterator[Row]:
    """The rows of a JSON-lines file, each of which has the texts of its form.

    Args:
        asked: each must have a prompt too, which plain text has not.
    Raises:
        DatasetError: as ``read_rows``, or a row's form is not sound; names the line.
    """
    for number, row in numbered_rows(path):
        where = f"{path}, line {number}"
        if problems := problems_of(row):
            raise DatasetError(f"{where}: {problems[0]}", hint="find all such rows with `xpm dataset validate`")
        if asked and not prompt_of(row):
            raise DatasetError(
                f"{where}: it has no prompt", hint="an expert is asked: write what, or take the line out"
            )
        yield row


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(number of its line, row) of a JSON-lines file; errors as of ``read_rows``."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read", context=str(error), hint="see `xpm dataset --help`") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            yield number, object_in(line, f"{path}, line {number}")


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows to ``path``, whole or not at all; how many there were.

    Raises:
        DatasetError: a text has half a character (a lone surrogate), which UTF-8 cannot hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except UnicodeEncodeError as error:
        raise DatasetError(f"row {count + 1} cannot be written to {path}", context=str(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def replace_rows(path: Path, rows: Iterable[Row], report: Callable[[str], None]) -> int:
    """Write rows as ``write_rows`` does; what was there before is kept if it is something else,
    and ``report`` told where."""
    before = moved_aside(path) if path.is_file() else None
    try:
        count = write_rows(path, rows)
    except BaseException:
        if before:
            before.rename(path)
        raise
    if before and filecmp.cmp(before, path, shallow=False):
        before.unlink()
    elif before:
        report(f"what {path.name} held before is kept as {before.name}")
    return count


def moved_aside(path: Path) -> Path:
    """Give a file the first free name ``<name>.1``, ``.2``, ...; the new path."""
    names = (path.with_name(f"{path.name}.{number}") for number in count_from(1))
    return path.rename(next(each for each in names if not each.exists()))


def normalised(raw: Mapping[str, Any], mapping: Mapping[str, str], *, where: str) -> Row:
    """A row with the keys that xpm reads.

    Args:
        mapping: xpm's key -> the source's key; what it leaves out is looked for under the usual names.
        where: for errors, e.g. "data.csv, row 7".
    Raises:
        DatasetError: there is no text to learn from.
    """
    for source in mapping.values():
        if source not in raw:
            raise DatasetError(f"{where} has no field {source!r}", hint=f"it has {', '.join(map(str, raw))}")
    row: Row = {key: raw[source] for key, source in mapping.items() if key not in _LABELS}
    labels = {key: raw[source] for key, source in mapping.items() if key in _LABELS}
    used = set(mapping.values())
    if "text" in row and len(row) == 1:
        row = {"text": _text_of(row["text"])}
    elif "messages" in row or (raw.get("messages") is not None and not row):
        row = {"messages": row.get("messages", raw.get("messages"))}
        used.add("messages")
    elif {"prompt", "chosen", "rejected"} <= {*raw, *row}:
        row = {key: row.get(key, raw.get(key)) for key in ("prompt", "chosen", "rejected")}
        used |= set(row)
    else:
        completion = row["completion"] if "completion" in row else _first(raw, _COMPLETION_KEYS, used)
        prompt = row["prompt"] if "prompt" in row else _first(raw, _PROMPT_KEYS, used)
        if prompt is None and completion is not None and "prompt" not in row:
            row = {"text": _text_of(completion)}
            return row | labels | _rest(raw, used | {*row, *labels})
        if prompt is None or completion is None:
            raise DatasetError(
                f"{where}: no prompt and completion were found",
                context=f"fields: {', '.join(map(str, raw))}",
                hint="say where they are with --map prompt=FIELD --map completion=FIELD",
            )
        context = row.pop("input") if "input" in row else _first(raw, _INPUT_KEYS, used)
        texts = [_text_of(each) for each in (prompt, context) if each not in (None, "")]
        row |= {"prompt": "\n\n".join(texts), "completion": _text_of(completion)}
    return row | labels | _rest(raw, used | {*row, *labels})


def _rest(raw: Mapping[str, Any], used: Set[str]) -> Row:
    """What a row keeps of its source: all that was not used, but for what would make it one of another form."""
    return {str(key): value for key, value in raw.items() if key not in used and key not in _OF_OTHER_FORMS}


def _text_of(value: Any) -> str:
    """A value as a model should write it: structures as JSON, never in Python's notation."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else str(value)


def _first(raw: Mapping[str, Any], keys: tuple[str, ...], used: set[str]) -> Any:
    """The first of the keys that has a text; it counts as used."""
    for key in keys:
        if key in raw and key not in used and raw[key] not in (None, ""):
            used.add(key)
            return raw[key]
    return None


def problems_of(row: Row) -> list[str]:
    """What is wrong with the form of a row; empty if nothing."""
    form = _form_of(row)
    if not form:
        return ["it has neither prompt and completion, nor messages, nor text"]
    problems = []
    for key in form:
        value = row[key]
        if key == "messages":
            if len(_turns(row)) < 2:
                problems.append("messages must be at least two objects with role and content")
            elif value[-1]["role"] != "assistant":
                problems.append("the last message must be the assistant's")
        elif not isinstance(value, str) or not value.strip():
            problems.append(f"{key} must be a text that is not empty")
    return problems


def _form_of(row: Row) -> tuple[str, ...]:
    return next((form for form in _FORMS if set(form) <= row.keys()), ())


def is_chat(row: Row) -> bool:
    """Whether a row's form is ``messages``."""
    return _form_of(row) == ("messages",)


def _turns(row: Row) -> list[dict[str, Any]]:
    """A row's messages; none where they are malformed."""
    messages = row["messages"]
    return messages if isinstance(messages, list) and all(_is_message(each) for each in messages) else []


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def prompt_of(row: Row) -> str:
    """The text a row's answer is to (the last user turn of messages; "" for plain text)."""
    if is_chat(row):
        return next((str(each["content"]) for each in reversed(_turns(row)) if each["role"] == "user"), "")
    return str(row.get("prompt", ""))


def context_of(row: Row) -> str:
    """All that stands before a row's answer (every turn but the last of messages; "" for plain text):
    what makes a row another."""
    if is_chat(row):
        return "\n\n".join(each["content"] for each in _turns(row)[:-1])
    return prompt_of(row)


def num_characters(row: Row) -> int:
    """How long the texts are that a row's form consists of."""
    if is_chat(row):
        return sum(len(each["content"]) for each in _turns(row))
    return sum(len(str(row[key])) for key in _form_of(row))


def completion_of(row: Row) -> str:
    if is_chat(row):
        return "".join(each["content"] for each in _turns(row)[-1:])
    return str(row.get("completion", row.get("chosen", row.get("text", ""))))


def in_turn(files: Iterable[Sequence[Row]]) -> list[Row]:
    """A row of each file, then the next of each, to the end of the longest."""
    return [row for row in chain.from_iterable(zip_longest(*files)) if row is not None]
