"""Full-text search over an index: an SQLite cache beside its copy, derived from the entries and never trusted.

The cache knows for which commit it was made and follows from there by the entry files that changed. It only says which
names to look at; what is shown of them is then read from the index and verified. A cache that is damaged is made anew.
"""

import contextlib
import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_index.errors import XpmError
from xpm_index.git import BareRepo
from xpm_index.layout import ENTRIES
from xpm_index.versions import Version

_FORMAT = 2
_VERSION = re.compile(rb'"version":\s*"([^"]+)"')
_WEIGHTS = "8.0, 1.0, 4.0, 4.0, 4.0"  # name, description, capabilities, keywords, tags
_SCHEMA = """
CREATE TABLE state (format INTEGER, head TEXT);
CREATE TABLE packages (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE, kind TEXT, publisher TEXT, capabilities TEXT, tags TEXT, bases TEXT,
  quality REAL
);
CREATE VIRTUAL TABLE words USING fts5(
  name, description, capabilities, keywords, tags, tokenize = "unicode61 remove_diacritics 2", prefix = '2 3'
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """``words`` must all occur, as beginnings of words; the other fields must hold exactly."""

    words: tuple[str, ...] = ()
    kind: str = ""
    capability: str = ""
    tag: str = ""
    base: str = ""
    publisher: str = ""
    limit: int = 50


class SearchCache:
    """The cache of one index; close after use (a context manager)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = self._open()

    def __enter__(self) -> "SearchCache":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._database.close()

    def follow(self, repo: BareRepo, head: str) -> int:
        """Update the cache to the commit ``head``; how many names changed."""
        old = self._head()
        if old == head:
            return 0
        known = old is not None and repo.has(old)
        paths = repo.changed_paths(old, head, ENTRIES) if known and old else repo.list_tree(head, ENTRIES)
        count = 0
        with self._database:
            if not known:
                self._database.executescript("DELETE FROM packages; DELETE FROM words;")
            for path, data in repo.read_blobs(head, (path for path in paths if path.endswith(".jsonl"))):
                self._put(path.rsplit("/", 1)[1].removesuffix(".jsonl"), data)
                count += 1
            self._database.execute("DELETE FROM state")
            self._database.execute("INSERT INTO state VALUES (?, ?)", (_FORMAT, head))
        return count

    def search(self, query: Query) -> list[tuple[str, float]]:
        """(name, rank) of what matches, best first: a lower rank is better."""
        conditions, values = [], []
        for column, value in (("kind", query.kind), ("publisher", query.publisher)):
            if value:
                conditions.append(f"packages.{column} = ?")
                values.append(value)
        for column, value in (("capabilities", query.capability), ("tags", query.tag), ("bases", query.base)):
            if value:
                conditions.append(f"instr(packages.{column}, ?) > 0")
                values.append(f"\n{value.lower()}\n")
        where = " AND ".join(conditions) or "1"
        if query.words:
            match = " AND ".join(f'"{word.replace(chr(34), chr(34) * 2)}"*' for word in query.words)
            sql = (
                f"SELECT packages.name, bm25(words, {_WEIGHTS}) AS rank FROM words JOIN packages ON packages.id = "
                f"words.rowid WHERE words MATCH ? AND {where} ORDER BY rank, packages.name LIMIT ?"
            )
            values.insert(0, match)
        else:
            sql = f"SELECT name, 0.0 FROM packages WHERE {where} ORDER BY name LIMIT ?"
        return [(name, rank) for name, rank in self._database.execute(sql, (*values, query.limit))]

    def _put(self, name: str, data: bytes | None) -> None:
        self._database.execute("DELETE FROM words WHERE rowid = (SELECT id FROM packages WHERE name = ?)", (name,))
        self._database.execute("DELETE FROM packages WHERE name = ?", (name,))
        newest = _newest(data) if data else None
        if newest is None:
            return
        capabilities, tags = _texts(newest, "capabilities"), _texts(newest, "tags")
        bases = sorted({str(each.get("base", "")) for each in newest.get("archives") or [] if isinstance(each, dict)})
        cursor = self._database.execute(
            "INSERT INTO packages (name, kind, publisher, capabilities, tags, bases, quality) VALUES (?, ?, ?, ?, ?, "
            "?, ?)",
            (
                name,
                str(newest.get("kind", "")),
                str(newest.get("publisher", "")),
                _lines(capabilities),
                _lines(tags),
                _lines(bases),
                newest.get("quality"),
            ),
        )
        words = (
            name.replace("-", " "),
            str(newest.get("description", "")),
            " ".join(capabilities),
            " ".join(_texts(newest, "keywords")),
            " ".join(tags),
        )
        self._database.execute(
            "INSERT INTO words (rowid, name, description, capabilities, keywords, tags) VALUES (?, ?, ?, ?, ?, ?)",
            (cursor.lastrowid, *words),
        )

    def _head(self) -> str | None:
        row = self._database.execute("SELECT head FROM state WHERE format = ?", (_FORMAT,)).fetchone()
        return row[0] if row else None

    def _open(self) -> sqlite3.Connection:
        for attempt in (1, 2):
            database = sqlite3.connect(self.path)
            try:
                database.execute("PRAGMA journal_mode = MEMORY")
                database.execute("PRAGMA synchronous = OFF")  # it can be made anew
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
                    database.executescript(_SCHEMA)
                database.execute("SELECT head FROM state").fetchone()
                return database
            except sqlite3.DatabaseError:
                database.close()
                if attempt == 2:
                    raise
                with contextlib.suppress(FileNotFoundError):
                    self.path.unlink()
        raise AssertionError("unreachable")


def words_of(texts: Sequence[str]) -> tuple[str, ...]:
    """The words of a query as FTS5 splits them; what is no letter or digit separates."""
    found: list[str] = []
    for text in texts:
        found += "".join(each if each.isalnum() else " " for each in text).split()
    return tuple(found)


def _newest(data: bytes) -> dict[str, Any] | None:
    """The document of the newest version, one that is not yanked before a yanked one, a release before a pre-release.

    Lines that can't be read are passed over, and None if there is no other: what is found here is
    verified before it is shown.
    """
    last = {match[1]: line for line in data.splitlines() if (match := _VERSION.search(line))}
    yanked = None
    for version in sorted(last, key=_order, reverse=True):
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(last[version])
            if isinstance(document, dict) and not document.get("yanked"):
                return document
            yanked = yanked or (document if isinstance(document, dict) else None)
    return yanked


def _order(version: bytes) -> tuple[bool, tuple[object, ...]]:
    try:
        parsed = Version.parse(version.decode())
    except (XpmError, UnicodeDecodeError):
        return False, ()
    return not parsed.is_prerelease, parsed.precedence


def _texts(document: dict[str, Any], key: str) -> list[str]:
    value = document.get(key)
    return [str(each) for each in value] if isinstance(value, list) else []


def _lines(values: Sequence[str]) -> str:
    return "".join(f"\n{value.lower()}\n" for value in values)
