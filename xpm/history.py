"""What changed an environment, so that it can be undone, and so that two files change as one.

One JSON file per environment under the home: its folder, the changes in order, and how many of them are in force. A
change is first written to a pending file beside it; that is the commit point. Then xpm.toml, xpm.lock and the history
follow, and the pending file goes. Whoever next holds the home's lock finishes a change that a crash cut off, unless
somebody has edited the files since; a change that fails in our hands is taken back.

The files here also tell which environments there are: their lockfiles are the roots of garbage collection.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpm.errors import StoreError, UsageError
from xpm.files import remove_durably, write_atomically
from xpm.lockfile import LOCK_FILE
from xpm.project import PROJECT_FILE
from xpm_index.errors import XpmError
from xpm_index.fields import Fields

MAX_CHANGES = 30
_FILES = (PROJECT_FILE, LOCK_FILE)

Contents = Mapping[str, str | None]
"""The texts of xpm.toml and xpm.lock, None for a file that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """``command`` and ``time`` are for people."""

    command: str
    time: str
    before: Contents
    after: Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """``position`` counts the changes in force; those after it were undone."""

    folder: str
    changes: tuple[ChangeRecord, ...] = ()
    position: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """The history of the environment in ``folder``; call its methods while holding the home's lock."""

    root: Path
    folder: Path

    @property
    def path(self) -> Path:
        return self.root / f"{hashlib.sha256(str(self.folder).encode()).hexdigest()[:24]}.json"

    def changes(self) -> tuple[tuple[ChangeRecord, ...], int]:
        """(all changes, oldest first; how many of them are in force)."""
        state = self._load()
        return state.changes, state.position

    def note(self) -> None:
        """Remember that there is an environment in this folder."""
        if not self.path.is_file():
            self._save(_State(folder=str(self.folder)))

    def commit(self, after: Contents, *, command: str, time: str) -> None:
        """Change the files to ``after`` and record it; what was undone before can't be redone any more."""
        state, before = self._load(), self.contents()
        if before == after:
            return
        record = ChangeRecord(command=command, time=time, before=before, after=after)
        changes = (*state.changes[: state.position], record)[-MAX_CHANGES:]
        self._move(replace(state, changes=changes, position=len(changes)), before, after)

    def last(self) -> ChangeRecord:
        """The last change in force; raises UsageError if there is none, or the files were edited since."""
        state = self._load()
        if state.position == 0:
            raise UsageError(
                "there is nothing to undo here", hint="only changes made by xpm in this folder can be undone"
            )
        self._require(state.changes[state.position - 1].after)
        return state.changes[state.position - 1]

    def next(self) -> ChangeRecord:
        """The first change that was undone; raises UsageError if there is none, or the files were edited since."""
        state = self._load()
        if state.position == len(state.changes):
            raise UsageError("there is nothing to redo here", hint="a new change drops what was undone")
        self._require(state.changes[state.position].before)
        return state.changes[state.position]

    def undo(self) -> None:
        """Restore what was before ``last()``."""
        record, state = self.last(), self._load()
        self._move(replace(state, position=state.position - 1), record.after, record.before)

    def redo(self) -> None:
        """Make ``next()`` again."""
        record, state = self.next(), self._load()
        self._move(replace(state, position=state.position + 1), record.before, record.after)

    def recover(self) -> None:
        """Finish a change that was cut off, if there is one."""
        if not self._pending.is_file():
            return
        fields = _fields(self._pending)
        start, end = _contents(fields, "start"), _contents(fields, "end")
        found = self.contents()
        if all(found[name] in (start[name], end[name]) for name in _FILES):
            self._write(end)
            self._save(_parse(fields.object("then", required=True)))
        remove_durably(self._pending)  # if somebody edited a file since, theirs stands

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def _require(self, wanted: Contents) -> None:
        edited = [name for name, text in self.contents().items() if text != wanted[name]]
        if edited:
            raise UsageError(
                f"{' and '.join(edited)} changed since that command",
                hint="what was edited by hand or checked out is not undone: use your version control",
            )

    @property
    def _pending(self) -> Path:
        return self.path.with_suffix(".pending")

    def _move(self, then: _State, start: Contents, end: Contents) -> None:
        now = self._load()
        document = {"start": start, "end": end, "then": _document(then)}
        write_atomically(self._pending, json.dumps(document, ensure_ascii=False).encode())
        try:
            self._write(end)
            self._save(then)
        except BaseException:
            with contextlib.suppress(OSError):  # if this fails too, whoever comes next finishes the change
                self._write(start)
                self._save(now)
                remove_durably(self._pending)
            raise
        remove_durably(self._pending)

    def contents(self) -> Contents:
        """The files as they are; raises StoreError if one is not UTF-8."""
        return {name: _text(self.folder / name) for name in _FILES}

    def _write(self, contents: Contents) -> None:
        for name in _FILES:  # the lock last
            text, path = contents[name], self.folder / name
            if text is None:
                remove_durably(path)
            elif not path.is_file() or path.read_bytes() != text.encode():
                write_atomically(path, text.encode())

    def _save(self, state: _State) -> None:
        write_atomically(self.path, (json.dumps(_document(state), ensure_ascii=False) + "\n").encode())

    def _load(self) -> _State:
        return _parse(_fields(self.path)) if self.path.is_file() else _State(folder=str(self.folder))


def environments(root: Path) -> Iterator[tuple[Path, tuple[ChangeRecord, ...]]]:
    """Every environment known: (its folder, its changes)."""
    for path in sorted(root.glob("*.json")):
        state = _parse(_fields(path))
        yield Path(state.folder), state.changes


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8, or take it from your version control"
        raise StoreError(f"{path} is not UTF-8", context=str(error)[:200], hint=hint) from error


def _document(state: _State) -> dict[str, Any]:
    changes = [
        {"command": each.command, "time": each.time, "before": dict(each.before), "after": dict(each.after)}
        for each in state.changes
    ]
    return {"folder": state.folder, "position": state.position, "changes": changes}


def _fields(path: Path) -> Fields:
    hint = "delete it: what was done before can't be undone then, and nothing else is lost"
    try:
        return Fields(json.loads(path.read_bytes()), path.name, error=StoreError)
    except (ValueError, XpmError) as error:
        raise StoreError(f"{path} is damaged", context=str(error)[:200], hint=hint) from error


def _parse(fields: Fields) -> _State:
    changes = (
        ChangeRecord(
            command=each.text("command"),
            time=each.text("time"),
            before=_contents(each, "before"),
            after=_contents(each, "after"),
        )
        for each in fields.objects("changes")
    )
    return _State(folder=fields.text("folder"), changes=tuple(changes), position=fields.integer("position"))


def _contents(fields: Fields, key: str) -> Contents:
    inner = fields.object(key, required=True)
    return {name: inner.text(name, required=False) if inner.raw.get(name) is not None else None for name in _FILES}
