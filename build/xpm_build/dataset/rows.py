"""The rows of a data set: JSON lines on disk, whatever form they came in.

A row has ``prompt`` and ``completion``, or ``messages``, or ``prompt``, ``chosen`` and ``rejected``, or ``text``. Other keys
(``family``, ``group``, ``phrasing``, ``check``, ...) are kept: the split, the statistics and the judges read them.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xpm_build.errors import DatasetError

Row = dict[str, Any]

# The order in which fields are looked for, when no mapping says where they are.
_PROMPT_KEYS = ("instruction", "prompt", "question", "text", "sql_prompt")
_INPUT_KEYS = ("input", "context", "schema")
_COMPLETION_KEYS = ("completion", "response", "output", "answer", "text", "cypher", "sql")
_FORMS = (("prompt", "completion"), ("prompt", "chosen", "rejected"), ("messages",), ("text",))


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSON-lines file, one after the other.

    Raises:
        DatasetError: the file is missing, or a line is not a JSON object; names the line.
    """
    try:
        stream = path.open(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read", context=str(error), hint="see `xpm dataset --help`") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{path}, line {number} is not JSON", context=str(error)) from error
            if not isinstance(row, dict):
                raise DatasetError(f"{path}, line {number} must be an object", context=line[:80].strip())
            yield row


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows to ``path``, whole or not at all; how many there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


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
    row: Row = {key: raw[source] for key, source in mapping.items()}
    used = set(mapping.values())
    if "messages" in raw and not row:
        row["messages"] = raw["messages"]
        used.add("messages")
    elif {"prompt", "chosen", "rejected"} <= {*raw, *row}:
        row = {key: row.get(key, raw.get(key)) for key in ("prompt", "chosen", "rejected")}
        used |= set(row)
    else:
        completion = row.get("completion") or _first(raw, _COMPLETION_KEYS, used)
        prompt = row.get("prompt") or _first(raw, _PROMPT_KEYS, used)
        if prompt is None and completion is not None:
            return {"text": str(completion)}
        if prompt is None or completion is None:
            raise DatasetError(
                f"{where}: no prompt and completion were found", context=f"fields: {', '.join(map(str, raw))}",
                hint="say where they are with --map prompt=FIELD --map completion=FIELD",
            )  # fmt: skip
        context = row.pop("input", None) or _first(raw, _INPUT_KEYS, used)
        row |= {"prompt": f"{prompt}\n\n{context}" if context else str(prompt), "completion": str(completion)}
    return row | {str(key): value for key, value in raw.items() if key not in used and key not in row}


def _first(raw: Mapping[str, Any], keys: tuple[str, ...], used: set[str]) -> Any:
    """The first of the keys that has a text; it counts as used."""
    for key in keys:
        if key in raw and key not in used and raw[key] not in (None, ""):
            used.add(key)
            return raw[key]
    return None


def problems_of(row: Row) -> list[str]:
    """What is wrong with the form of a row; empty if nothing."""
    for form in _FORMS:
        if set(form) <= row.keys():
            break
    else:
        return ["it has neither prompt and completion, nor messages, nor text"]
    problems = []
    for key in form:
        value = row[key]
        if key == "messages":
            if not isinstance(value, list) or not all(_is_message(each) for each in value) or len(value) < 2:
                problems.append("messages must be at least two objects with role and content")
            elif value[-1]["role"] != "assistant":
                problems.append("the last message must be the assistant's")
        elif not isinstance(value, str) or not value.strip():
            problems.append(f"{key} must be a text that is not empty")
    return problems


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def prompt_of(row: Row) -> str:
    """The text a row's answer is to (the last user turn of messages; "" for plain text)."""
    if "messages" in row:
        return next((each["content"] for each in reversed(row["messages"]) if each["role"] == "user"), "")
    return str(row.get("prompt", ""))


def completion_of(row: Row) -> str:
    if "messages" in row:
        return str(row["messages"][-1]["content"])
    return str(row.get("completion", row.get("chosen", row.get("text", ""))))
