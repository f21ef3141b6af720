"""Files of JSON lines: an object each; and journals, to which they are appended as they come."""

import json
from pathlib import Path
from typing import Any

from xpm_build.errors import DatasetError


def object_in(line: bytes, where: str, *, hint: str | None = None) -> dict[str, Any]:
    """The JSON object that a line holds.

    Args:
        where: for errors, e.g. "data.jsonl, line 7".
    Raises:
        DatasetError: it holds none.
    """
    try:
        text = line.decode()
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where} is not UTF-8", context=str(error), hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is not JSON", context=str(error), hint=hint) from error
    if not isinstance(value, dict):
        raise DatasetError(f"{where} must be an object", context=text[:80].strip(), hint=hint)
    return value


def recover(path: Path) -> list[dict[str, Any]]:
    """The records of a journal; a torn last line, one without its newline, is cut off the file. No file: no records.

    Raises:
        DatasetError: a whole line is no JSON object; names it, and leaves the file as it is.
    """
    if not path.is_file():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    hint = "something else wrote to this journal: mend the line, or move the file away to begin anew"
    records = [object_in(line, f"{path}, line {number}", hint=hint) for number, line in enumerate(lines, start=1)]
    if torn:
        with path.open("r+b") as stream:
            stream.truncate(sum(len(line) + 1 for line in lines))
    return records
