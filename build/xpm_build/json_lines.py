"""Records on disk, a line of JSON each, appended as they come: a process that is killed loses at most its last line."""

import json
from pathlib import Path
from typing import Any

from xpm_build.errors import BuildError


def recover(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a torn last line, one without its newline, is cut off the file. No file: no records.

    Raises:
        BuildError: a whole line is no JSON object; names it, and leaves the file as it is.
    """
    if not path.is_file():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    records = [_record(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    if torn:
        with path.open("r+b") as stream:
            stream.truncate(sum(len(line) + 1 for line in lines))
    return records


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _broken(where) from error
    if not isinstance(record, dict):
        raise _broken(where)
    return record


def _broken(where: str) -> BuildError:
    return BuildError(
        f"{where} is no JSON object",
        context="what was made so far is kept in this file, and something else wrote to it",
        hint="mend the line, or move the file away to begin anew",
    )
