"""The queue of jobs: what was accepted is done once, whatever happens to the process."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from xpm_runtime.errors import EngineError, RequestError
from xpm_runtime.server.job_runner import JobRunner
from xpm_runtime.server.jobs import Jobs
from xpm_runtime.server.work import Overloaded


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path / "jobs.sqlite", max_queued=5)
    yield made
    made.close()


def test_the_life_of_a_job(jobs):
    first = jobs.accept({"a": 1}, tenant="t")
    urgent = jobs.accept({"b": 2}, tenant="t", priority=9)
    taken = jobs.take()
    assert (taken.id, taken.state, taken.attempt, taken.payload) == (urgent.id, "running", 1, {"b": 2})
    assert jobs.finish(taken, {"text": "äß"})
    assert not jobs.finish(taken, {"text": "again"})
    assert not jobs.fail(taken, "too late")
    done = jobs.get(urgent.id, tenant="t")
    assert (done.state, done.result, done.is_ended) == ("done", {"text": "äß"}, True)
    assert jobs.get(urgent.id, tenant="u") is None
    assert jobs.take().id == first.id
    assert jobs.take() is None
    assert [job.id for job in jobs.list(tenant="t")] == [urgent.id, first.id]
    assert jobs.counts() == {"done": 1, "running": 1}


def test_the_same_key_is_the_same_job(jobs):
    first = jobs.accept({"a": 1, "b": 2}, key="k")
    assert jobs.accept({"b": 2, "a": 1}, key="k").id == first.id
    assert jobs.accept({"a": 1}, tenant="other", key="k").id != first.id
    with pytest.raises(RequestError, match="used for another request"):
        jobs.accept({"a": 2}, key="k")


def test_too_many_are_refused_and_leave_nothing(jobs):
    for _ in range(5):
        jobs.accept({})
    with pytest.raises(Overloaded):
        jobs.accept({}, key="k")
    assert jobs.counts() == {"queued": 5}


def test_what_was_cancelled_keeps_no_result(jobs):
    jobs.accept({})
    running = jobs.take()
    assert jobs.cancel(running.id, tenant="other") is None
    assert jobs.cancel(running.id, tenant="").state == "cancelled"
    assert not jobs.finish(running, {})
    assert not jobs.put_back(running)
    assert jobs.get(running.id, tenant="").result is None


def test_results_are_kept_for_their_time(tmp_path):
    now = [1000.0]
    jobs = Jobs(tmp_path / "jobs.sqlite", keep_s=10, clock=lambda: now[0])
    jobs.accept({})
    jobs.finish(jobs.take(), {})
    waiting = jobs.accept({})
    now[0] += 9
    assert jobs.purge() == 0
    now[0] += 2
    assert jobs.purge() == 1
    assert [job.id for job in jobs.list(tenant="")] == [waiting.id]


def test_one_process_has_the_file_and_what_it_was_doing_is_queued_again(tmp_path, monkeypatch):
    monkeypatch.setattr("xpm_runtime.server.jobs._BUSY_S", 0.1)
    path = tmp_path / "sub" / "jobs.sqlite"
    jobs = Jobs(path)
    assert path.stat().st_mode & 0o77 == 0 or os.name == "nt"
    with pytest.raises(RequestError, match="can't be opened"):
        Jobs(path)
    id = jobs.accept({}).id
    for attempt in range(1, 4):
        assert jobs.take().attempt == attempt
        jobs.close()
        jobs = Jobs(path)
    last = jobs.get(id, tenant="")
    assert (last.state, last.error) == ("failed", "the server ended while it ran, 3 times")


@pytest.mark.parametrize("content", [b"no database at all, but a text that is long enough", None])
def test_what_is_no_queue_is_refused_and_not_changed(content, tmp_path):
    path = tmp_path / "jobs.sqlite"
    if content is None:
        Jobs(path).close()
        import sqlite3

        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 9")
        database.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(RequestError, match="can't be opened"):
        Jobs(path)
    assert path.read_bytes() == before


def test_the_runner_does_all_and_says_what_failed(tmp_path):
    async def perform(payload):
        if payload["n"] == 1:
            raise EngineError("no", context="why")
        if payload["n"] == 2:
            await asyncio.sleep(60)
        if payload["n"] == 3 and not refused:
            refused.append(1)
            raise Overloaded("full", retry_after_s=0.01)
        return {"n": payload["n"]}

    async def run():
        runner = JobRunner(jobs, perform, at_once=2)
        running = asyncio.create_task(runner.run())
        ids = [jobs.accept({"n": n}).id for n in range(6)]
        runner.notify()
        while jobs.counts() != {"done": 4, "failed": 1, "running": 1}:
            await asyncio.sleep(0.005)
        assert (await runner.cancel(ids[2], tenant="")).state == "cancelled"
        stuck = jobs.accept({"n": 2}).id
        runner.notify()
        while jobs.get(stuck, tenant="").state != "running":
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return [jobs.get(id, tenant="") for id in [*ids, stuck]]

    refused = []
    jobs = Jobs(tmp_path / "jobs.sqlite")
    found = asyncio.run(run())
    assert [job.state for job in found] == ["done", "failed", "cancelled", "done", "done", "done", "queued"]
    assert found[1].error == "no: why"
    assert (refused, found[3].attempt, found[-1].attempt) == ([1], 1, 0)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_killed_process_loses_no_accepted_job(tmp_path):
    """Killed at different moments, again and again: what was said to be accepted is there, and
    has one result in the end."""
    path, accepted = tmp_path / "jobs.sqlite", []
    for number, delay in enumerate((0.0, 0.03, 0.08, 0.15)):
        command = [sys.executable, "-m", "tests.support.job_process", str(path), "200", str(number)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().splitlines()
        accepted += [line.split()[1] for line in lines if len(line.split()) == 2 and len(line.split()[1]) == 36]
        process.wait()
    assert len(accepted) > 10
    command = [sys.executable, "-m", "tests.support.job_process", str(path), "0", "last"]
    assert subprocess.run(command, timeout=60).returncode == 0
    jobs = Jobs(path)
    found = {job.id: job for job in jobs.list(tenant="", limit=10_000)}
    assert found.keys() >= set(accepted)
    assert all(job.state == "done" and job.result == {"square": job.payload["number"] ** 2} for job in found.values())
    jobs.close()
