"""Bringing rows in from JSON lines, CSV, Parquet, and data sets in Hugging Face's form (a
folder, or an id on the hub)."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xpm_build.errors import DatasetError
from xpm_build.rows import Row, normalised, read_rows

_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


def import_rows(source: str, *, form: str = "", mapping: Mapping[str, str] | None = None) -> Iterator[Row]:
    """The rows of a source in xpm's form.

    Args:
        source: a file, a folder, or ``id::split::config`` on the hub (split and config may be left out).
        form: jsonl, csv, parquet or huggingface; by default what the name says.
        mapping: xpm's key -> the source's; usual names are found without.
    Raises:
        DatasetError: the source cannot be read, or a row has nothing to learn from; names file and row.
    """
    for number, raw in enumerate(_raw_rows(source, form), start=1):
        yield normalised(raw, mapping or {}, where=f"{source}, row {number}")


def _raw_rows(source: str, form: str) -> Iterator[Mapping[str, Any]]:
    path = Path(source)
    kind = form or (_BY_SUFFIX.get(path.suffix.lower(), "") if path.is_file() else "huggingface")
    if kind != "huggingface" and not path.is_file():
        raise DatasetError(f"{source} does not exist", hint="name a file, a data set's folder, or an id on the hub")
    if kind == "jsonl":
        yield from read_rows(path)
    elif kind == "json":
        yield from _json_rows(path)
    elif kind == "csv":
        yield from _csv_rows(path)
    elif kind == "parquet":
        yield from _parquet_rows(path)
    elif kind == "huggingface":
        yield from _hub_rows(source)
    else:
        raise DatasetError(
            f"the form of {source} is not known", hint="say it with --format jsonl, csv, parquet or huggingface"
        )


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    import json

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON", context=str(error)) from error
    rows = document if isinstance(document, list) else document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise DatasetError(f"{path} must hold an array of objects")
    yield from rows


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(16 << 20)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            delimiter = _delimiter(stream.readline())
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=delimiter)
            for row in reader:
                if None in row or None in row.values():
                    raise DatasetError(f"{path}, line {reader.line_num} has another number of fields than the header")
                yield row
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path} is not UTF-8", context=str(error), hint="save it as UTF-8") from error
        except csv.Error as error:
            raise DatasetError(f"{path} is not CSV", context=str(error)) from error


def _delimiter(header: str) -> str:
    """What parts the names of the header; data is not asked, where commas and quotes mean other things."""
    unquoted = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=unquoted.count)


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{path} is not Parquet", context=str(error).splitlines()[0]) from error


def _hub_rows(source: str) -> Iterator[Mapping[str, Any]]:
    import datasets

    name, _, rest = source.partition("::")
    split, _, config = rest.partition("::")
    try:
        if (Path(name).is_dir() and (Path(name) / "dataset_info.json").is_file()) or (
            Path(name) / "dataset_dict.json"
        ).is_file():
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, config or None)
    except Exception as error:  # the library raises whatever its file systems raise
        raise DatasetError(
            f"the data set {name} cannot be loaded",
            context=f"{type(error).__name__}: {str(error)[:200]}",
            hint="name a folder, or OWNER/NAME::split::config",
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        chosen = split or ("train" if "train" in loaded else next(iter(loaded)))
        if chosen not in loaded:
            raise DatasetError(f"{name} has no split {chosen!r}", hint=f"it has {', '.join(loaded)}")
        loaded = loaded[chosen]
    yield from loaded
