"""Jobs over HTTP, also when the process is killed."""

import os
import subprocess
import sys
import time

import httpx
import pytest

from tests.server.conftest import ANSWER, QUESTION
from tests.support.serving import serving
from xpm.operations.serve import KEYS_FILE
from xpm_runtime.server.keys import KeyFile

LONG = {"prompt": "x", "model": "base", "grammar": {"kind": "regex", "text": "[ab]{60}"}, "max_tokens": 400}


@pytest.fixture(scope="module")
def client(environment, tmp_path_factory):
    jobs = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
    with serving(environment, max_lanes=2, jobs=jobs) as served, httpx.Client(base_url=served.url, timeout=60) as found:
        yield found


def ended(client, id, seconds=30):
    deadline = time.monotonic() + seconds
    while (job := client.get(f"/v1/jobs/{id}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def test_a_job_is_done_once(client):
    accepted = client.post("/v1/jobs", json={"prompt": QUESTION}, headers={"idempotency-key": "one"})
    assert accepted.status_code == 202
    again = client.post("/v1/jobs", json={"prompt": QUESTION}, headers={"idempotency-key": "one"}).json()
    assert again["id"] == accepted.json()["id"]
    other = client.post("/v1/jobs", json={"prompt": "x"}, headers={"idempotency-key": "one"})
    assert (other.status_code, "used for another" in other.text) == (400, True)
    job = ended(client, again["id"])
    assert (job["state"], job["result"]["text"], job["attempt"]) == ("done", ANSWER, 1)
    assert job["result"]["xpm"]["experts"][0]["id"] == "expert-sql"
    assert job["id"] in [each["id"] for each in client.get("/v1/jobs").json()["jobs"]]


def test_a_job_is_cancelled(client):
    id = client.post("/v1/jobs", json=LONG).json()["id"]
    assert client.delete(f"/v1/jobs/{id}").json()["state"] == "cancelled"
    assert ended(client, id)["state"] == "cancelled"
    assert client.get("/v1/jobs/job_none").status_code == 404
    assert client.delete("/v1/jobs/job_none").status_code == 404


def test_a_job_gets_no_higher_priority_than_its_key_may_have(client, environment):
    keys = KeyFile(environment.home.root / KEYS_FILE)
    secret, _ = keys.add("later", max_priority=1)
    try:
        headers = {"authorization": f"Bearer {secret}"}
        accepted = client.post("/v1/jobs", json={"prompt": QUESTION, "priority": 9}, headers=headers)
        assert accepted.json()["priority"] == 1
    finally:
        keys.revoke("later")


def test_what_cannot_be_done_is_told(client):
    assert client.post("/v1/jobs", json={}).status_code == 400
    assert client.post("/v1/jobs", json={"prompt": "x", "stream": True}).status_code == 400
    job = ended(client, client.post("/v1/jobs", json={"prompt": "x", "force_experts": ["nobody"]}).json()["id"])
    assert (job["state"], "nobody" in job["error"]) == ("failed", True)


def test_a_server_without_jobs(http):
    assert http.post("/v1/jobs", json={"prompt": "x"}).status_code == 501


def test_what_was_accepted_outlives_the_process(environment, tmp_path):
    command = [
        sys.executable,
        "-m",
        "xpm",
        "serve",
        "--port",
        "0",
        "--max-lanes",
        "1",
        "--jobs",
        str(tmp_path / "jobs"),
    ]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "cwd": environment.folder}
    options["env"] = os.environ | {"XPM_HOME": str(environment.home.root)}
    with subprocess.Popen(command, **options) as first:
        address = first.stdout.readline().strip()
        ids = [httpx.post(f"{address}/v1/jobs", json=LONG, timeout=60).json()["id"] for _ in range(3)]
        first.kill()
    with subprocess.Popen(command, **options) as second:
        try:
            with httpx.Client(base_url=second.stdout.readline().strip(), timeout=60) as client:
                jobs = [ended(client, each) for each in ids]
        finally:
            second.kill()
    assert [(each["state"], len(each["result"]["text"])) for each in jobs] == [("done", 60)] * 3
