"""Records on disk, a line of JSON each, appended as they come: a process that is killed loses at most its last line."""

import json
from pathlib import Path
from typing import Any


def recover(path: Path) -> list[Any]:
    """The records of a file; from a line on that is torn or no JSON, the file is cut. No file: no records."""
    if not path.is_file():
        return []
    records: list[Any] = []
    whole = 0
    with path.open("r+b") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            records.append(record)
            whole += len(line)
        stream.truncate(whole)
    return records
