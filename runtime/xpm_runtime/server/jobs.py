"""Jobs that were accepted and are done later: a queue in SQLite that outlives the process.

A job that was accepted is on the disk before its id is given away, and has one result: what a process that died was
doing is queued again when the next one opens the file, and only the attempt that is under way may write a result. One
process at a time has the file. It knows no requests and no engine: payloads and results are JSON.

States: queued → running → done, failed or cancelled; running → queued if the process dies, drains or has no room.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xpm_runtime.errors import EngineError, RequestError
from xpm_runtime.server.work import Overloaded

State = Literal["queued", "running", "done", "failed", "cancelled"]
Json = dict[str, Any]
_BUSY_S = 2.0
_FORMAT = 1
_TABLES = f"""
PRAGMA user_version = {_FORMAT};
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    key TEXT,
    digest BLOB NOT NULL,
    payload TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    accepted REAL NOT NULL,
    started REAL,
    ended REAL,
    result TEXT,
    error TEXT,
    UNIQUE (tenant, key)
);
CREATE INDEX IF NOT EXISTS next_job ON jobs (state, priority DESC, number);
"""
_COLUMNS = "id, tenant, priority, state, attempt, accepted, started, ended, payload, result, error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Times are seconds of the epoch. ``error`` says why it failed; ``attempt`` counts how often it was begun."""

    id: str
    tenant: str
    priority: int
    state: State
    attempt: int
    accepted: float
    started: float | None
    ended: float | None
    payload: Json
    result: Json | None
    error: str | None

    @property
    def is_ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class Jobs:
    """The queue; any thread may ask, and waits for the disk."""

    def __init__(
        self,
        path: Path,
        *,
        max_queued: int = 10_000,
        keep_s: float = 24 * 3600.0,
        max_attempts: int = 3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make the file, and queue again what a process was doing that died.

        Args:
            keep_s: how long a result is kept.
            max_attempts: how often a job is begun whose process died: it may be why.
        Raises:
            RequestError: another process has the file, or it is not one of these.
        """
        self._max_queued, self._keep_s, self._clock = max_queued, keep_s, clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # prompts are nobody else's business
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._open(max_attempts)
        except (sqlite3.Error, OSError) as error:
            hint = "stop the other server, or give each its own file"
            raise RequestError(f"the jobs in {path} can't be opened", context=str(error), hint=hint) from error

    def _open(self, max_attempts: int) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._database.execute(f"PRAGMA {pragma}")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"it has format {version}, this program reads {_FORMAT}")
        self._database.executescript(_TABLES)
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'failed', ended = ?, error = ? WHERE state = 'running' AND attempt >= ?",
                (self._clock(), f"the server ended while it ran, {max_attempts} times", max_attempts),
            )
            database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def accept(self, payload: Json, *, tenant: str = "", key: str | None = None, priority: int = 4) -> Job:
        """Keep a job; when this returns it is on the disk. The same ``key`` of a tenant again is the same job.

        Raises:
            Overloaded: too many wait. RequestError: the key was used for another payload.
        """
        text = json.dumps(payload, sort_keys=True)
        digest = hashlib.sha256(text.encode()).digest()
        with self._writing() as database:
            if key is not None:
                known = database.execute(
                    "SELECT id, digest FROM jobs WHERE tenant = ? AND key = ?", (tenant, key)
                ).fetchone()
                if known is not None and known[1] != digest:
                    raise RequestError(
                        "the idempotency key was used for another request", hint="use a new one for a new request"
                    )
                if known is not None:
                    return self._one("id = ?", known[0])
            (waiting,) = database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()
            if waiting >= self._max_queued:
                raise Overloaded("too many jobs wait", retry_after_s=30, context=f"{waiting} jobs")
            id = f"job_{uuid.uuid4().hex}"
            database.execute(
                "INSERT INTO jobs (id, tenant, key, digest, payload, priority, state, accepted)"
                " VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
                (id, tenant, key, digest, text, priority, self._clock()),
            )
            return self._one("id = ?", id)

    def take(self) -> Job | None:
        """Begin the next job, by priority, then in order of acceptance; None if none waits."""
        with self._writing() as database:
            row = database.execute(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, started = ? WHERE number ="
                " (SELECT number FROM jobs WHERE state = 'queued' ORDER BY priority DESC, number LIMIT 1) RETURNING id",
                (self._clock(),),
            ).fetchone()
            return None if row is None else self._one("id = ?", row[0])

    def finish(self, job: Job, result: Json) -> bool:
        """Keep the result of an attempt; False, and nothing is kept, if the job was
        cancelled or is another attempt's."""
        return self._leave(job, "done", result=json.dumps(result))

    def fail(self, job: Job, error: str) -> bool:
        return self._leave(job, "failed", error=error)

    def put_back(self, job: Job) -> bool:
        """Queue a job again whose attempt was broken off through no fault of its own."""
        return self._change(job, "state = 'queued', attempt = attempt - 1, started = NULL", ())

    def cancel(self, id: str, *, tenant: str) -> Job | None:
        """End a job that has not ended; None if the tenant has no such job."""
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ?"
                " WHERE id = ? AND tenant = ? AND state IN ('queued', 'running')",
                (self._clock(), id, tenant),
            )
        return self.get(id, tenant=tenant)

    def get(self, id: str, *, tenant: str) -> Job | None:
        with self._lock:
            return next(self._select("id = ? AND tenant = ?", id, tenant), None)

    def list(self, *, tenant: str, limit: int = 100) -> tuple[Job, ...]:
        """A tenant's jobs, the latest first."""
        with self._lock:
            return tuple(self._select("tenant = ? ORDER BY number DESC LIMIT ?", tenant, limit))

    def counts(self) -> dict[str, int]:
        """How many there are, by state."""
        with self._lock:
            return dict(self._database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())

    def purge(self) -> int:
        """Forget what ended longer ago than results are kept; how many that were."""
        with self._writing() as database:
            return database.execute("DELETE FROM jobs WHERE ended < ?", (self._clock() - self._keep_s,)).rowcount

    def _leave(self, job: Job, state: State, *, result: str | None = None, error: str | None = None) -> bool:
        change = "state = ?, result = ?, error = ?, ended = ?"
        return self._change(job, change, (state, result, error, self._clock()))

    def _change(self, job: Job, change: str, values: tuple[object, ...]) -> bool:
        with self._writing() as database:
            where = "id = ? AND attempt = ? AND state = 'running'"
            done = database.execute(f"UPDATE jobs SET {change} WHERE {where}", (*values, job.id, job.attempt))
            return done.rowcount == 1

    def _one(self, where: str, *values: object) -> Job:
        return next(self._select(where, *values))

    def _select(self, where: str, *values: object) -> Iterator[Job]:
        for row in self._database.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values).fetchall():
            *plain, payload, result, error = row
            names = ("id", "tenant", "priority", "state", "attempt", "accepted", "started", "ended")
            yield Job(
                **dict(zip(names, plain, strict=True)),
                payload=json.loads(payload),
                result=None if result is None else json.loads(result),
                error=error,
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk when it is left, or nothing of it; raises EngineError if
        the disk does not take it."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise EngineError("the jobs can't be written", context=str(error)) from error
