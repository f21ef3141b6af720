"""Data from language models: a local server speaks the providers' protocols, and fails as they do."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import click.testing
import pytest

from tests.support import llm_server
from tests.support.llm_server import serve_llm
from xpm.cli.main import cli
from xpm_build.dataset import generate as generating
from xpm_build.dataset.generate import estimate, generate
from xpm_build.dataset.providers import OpenAIProvider, api_key, provider_of
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import DatasetError
from xpm_build.rows import read_rows, write_rows

PROVIDERS = ("openai", "anthropic")


@pytest.fixture
def server():
    with serve_llm() as server:
        yield server


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def generation(provider, url, **changes):
    stated = {
        "provider": provider,
        "url": url,
        "task": "Answer questions.",
        "count": 25,
        "requests_per_minute": 6000,
        **changes,
    }
    return dataset_settings({"training": {"dataset": {"generation": stated}}}).generation


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rows_usage_and_what_was_not_usable(provider, server, tmp_path):
    report = generate(generation(provider, server.url, model="gpt-4o"), tmp_path / "data.jsonl")
    rows = list(read_rows(tmp_path / "data.jsonl"))
    assert len(rows) == report.rows == 25
    assert {row["difficulty"] for row in rows} == {"easy"}
    assert report.broken == 3  # one in each of three batches
    assert (report.usage.requests, report.usage.input_tokens, report.usage.output_tokens) == (3, 600, 900)
    assert report.usage.dollars == pytest.approx((600 * 2.5 + 900 * 10) / 1e6)
    sent = len(server.requests)
    generate(generation(provider, server.url, model="gpt-4o", count=26), tmp_path / "data.jsonl")
    assert len(server.requests) == sent  # for rows that were paid for before


def test_what_was_there_before_is_kept(tmp_path):
    path, told = tmp_path / "data.jsonl", []
    write_rows(path, [{"prompt": "by hand", "completion": "b"}])
    for count in (10, 10, 12):
        stated = {"domain": "sql", "count": count, "schemas": 4}
        generate(
            dataset_settings({"training": {"dataset": {"generation": stated}}}).generation, path, report=told.append
        )
    assert [each for each in told if "kept" in each] == [
        f"what data.jsonl held before is kept as data.jsonl.{number}" for number in (1, 2)
    ]
    assert next(read_rows(tmp_path / "data.jsonl.1"))["prompt"] == "by hand"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data.jsonl", "data.jsonl.1", "data.jsonl.2"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_passes_is_tried_again(provider, server, tmp_path):
    server.faults[:] = ["429", "500", "broken", "cut", "length"]
    report = generate(generation(provider, server.url), tmp_path / "data.jsonl", concurrency=2)
    assert report.rows == 25
    assert report.retries == 5
    assert len(server.requests) == 8
    assert report.usage.requests >= 5  # answers that were no use cost all the same
    assert report.usage.dollars is None or report.usage.dollars > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_temperature_is_sent_where_the_manifest_has_one(provider, server, tmp_path):
    generate(generation(provider, server.url, count=5), tmp_path / "plain.jsonl")
    assert "temperature" not in server.requests[-1]
    generate(generation(provider, server.url, count=5, temperature=0.5), tmp_path / "cool.jsonl")
    assert server.requests[-1]["temperature"] == 0.5


def test_a_seed_is_sent_where_the_manifest_has_one(server, tmp_path):
    generate(generation("openai", server.url, count=5), tmp_path / "plain.jsonl")
    assert "seed" not in server.requests[-1]
    generate(generation("openai", server.url, count=5, seed=7), tmp_path / "seeded.jsonl")
    assert server.requests[-1]["seed"] == 7


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refusal_is_final_and_names_no_key(provider, server, tmp_path, monkeypatch):
    secret = "sk-not-to-be-seen"
    monkeypatch.setenv("OPENAI_API_KEY" if provider == "openai" else "ANTHROPIC_API_KEY", secret)
    server.faults[:] = ["401"] * 9
    with pytest.raises(DatasetError) as caught:
        generate(generation(provider, server.url), tmp_path / "data.jsonl", concurrency=1)
    assert "refused" in str(caught.value)
    assert len(server.requests) == 1
    assert not (tmp_path / "data.jsonl").exists()
    assert secret in json.dumps(server.headers)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert secret not in written + str(caught.value) + str(caught.value.context)


def test_a_model_that_never_writes_json_ends_in_an_error(server, tmp_path, monkeypatch):
    monkeypatch.setattr(generating, "_LONGEST_WAIT_S", 0.01)
    server.faults[:] = ["broken"] * 20
    with pytest.raises(DatasetError, match="not the JSON that was asked for"):
        generate(generation("openai", server.url, count=5), tmp_path / "data.jsonl")


def test_what_was_made_is_kept_and_only_the_rest_asked_for(server, tmp_path, monkeypatch):
    wanted = generation("openai", server.url)
    server.faults[:] = ["ok", "ok", "401"]
    with pytest.raises(DatasetError):
        generate(wanted, tmp_path / "data.jsonl", concurrency=1)
    before = len(server.requests)
    assert generate(wanted, tmp_path / "data.jsonl").rows == 25
    assert len(server.requests) == before + 1


def test_a_journal_serves_whoever_asks_for_more_of_the_same(server, tmp_path):
    server.faults[:] = ["ok", "ok", "401"]
    with pytest.raises(DatasetError):
        generate(generation("openai", server.url, count=100), tmp_path / "data.jsonl", concurrency=1)
    before, told = len(server.requests), []
    more = generation("openai", server.url, count=200, prices={"input": 1, "output": 2}, diversity_threshold=0.99)
    generate(more, tmp_path / "data.jsonl", report=told.append)
    assert "going on after 2 of 20 batches" in told
    assert len(server.requests) == before + 18


def test_a_journal_of_other_settings_is_kept(server, tmp_path):
    for number, task in enumerate(("Answer.", "Answer well.", "Answer briefly.")):
        told = []
        server.faults[:] = ["ok", "401"]
        with pytest.raises(DatasetError):
            generate(generation("openai", server.url, task=task), tmp_path / "a", concurrency=1, report=told.append)
        assert not number or told[0] == f"a.journal is of other settings; it is kept as a.journal.{number}"
    kept = [(tmp_path / f"a.journal{end}").read_text().splitlines() for end in ("", ".1", ".2")]
    assert [len(lines) for lines in kept] == [2, 2, 2]
    assert len({lines[0] for lines in kept}) == 3


@pytest.mark.parametrize("diversity", [0.0, 0.7])
def test_difficulties_add_up_to_the_count(diversity, tmp_path):
    asked = {"difficulty_distribution": {"easy": 1, "medium": 1, "hard": 1}, "diversity_threshold": diversity}
    stated = {"domain": "sql", "count": 40, "schemas": 200, **asked}
    report = generate(dataset_settings({"training": {"dataset": {"generation": stated}}}).generation, tmp_path / "a")
    levels = [row["difficulty"] for row in read_rows(tmp_path / "a")]
    assert report.rows == 40
    assert sorted(levels.count(level) for level in set(levels)) == [13, 13, 14]


def test_half_a_character_is_a_broken_example(server, tmp_path, monkeypatch):
    whole = llm_server._examples
    monkeypatch.setattr(llm_server, "_examples", lambda number: whole(number).replace(".3?", ".3\\ud83d?"))
    report = generate(generation("openai", server.url, count=9), tmp_path / "data.jsonl")
    assert (report.rows, report.broken) == (9, 2)


@pytest.mark.parametrize(
    ("provider", "url", "host"),
    [
        ("openai", "https://evil.example/v1", "evil.example"),
        ("anthropic", "https://evil.example", "evil.example"),
        ("openai", "https://api.openai.com@evil.example/v1", "evil.example"),
        ("openai", "https://api.openai.com.evil.example/v1", "api.openai.com.evil.example"),
        ("openai", "http://api.openai.com/v1", "api.openai.com"),
        ("openai", "https://api.openai.com/v1", ""),
        ("anthropic", "https://api.anthropic.com", ""),
        ("openai", "http://localhost:9/v1", ""),
        ("openai", "http://[::1]:9/v1", ""),
    ],
)
def test_a_manifest_sends_no_key_to_a_stranger(provider, url, host, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen")
    chosen = provider_of(generation(provider, url))
    if host:
        with pytest.raises(DatasetError, match=f"to {host}$") as caught:
            chosen.connect(url_is_confirmed=False)
        assert "--url" in str(caught.value.hint)
    else:
        chosen.connect(url_is_confirmed=False)
    chosen.connect(url_is_confirmed=True)


@pytest.mark.parametrize("typed", [[], ["--url", "https://evil.example/v1"]])
def test_only_a_typed_url_confirms_a_server(typed, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv("XPM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(OpenAIProvider, "connect", lambda self, **options: asked.append(options) or 1 / 0)
    stated = {"provider": "openai", "url": "https://evil.example/v1", "task": "Answer."}
    manifest = {"name": "expert-x", "version": "0.1.0", "base_models": [{"name": "b"}]}
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "training": {"dataset": {"generation": stated}}}))
    click.testing.CliRunner().invoke(cli, ["dataset", "generate", str(tmp_path), *typed])
    assert asked == [{"url_is_confirmed": bool(typed)}]


def test_another_provider_than_the_manifests_passes_over_what_is_not_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XPM_HOME", str(tmp_path / "home"))
    stated = {"provider": "template", "domain": "sql", "task": "Write SQL.", "count": 30, "seed": 1, "schemas": 9}
    manifest = {"name": "expert-x", "version": "0.1.0", "base_models": [{"name": "b"}]}
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "training": {"dataset": {"generation": stated}}}))
    command = ["dataset", "generate", str(tmp_path), "--provider", "anthropic", "--dry-run", "--json"]
    found = click.testing.CliRunner().invoke(cli, command)
    assert json.loads(found.stdout)["usage"]["requests"] == 3
    found = click.testing.CliRunner().invoke(cli, [*command, "--seed", "7"])
    assert "training.dataset.generation.seed means nothing to the provider 'anthropic'" in str(found.exception)


def test_a_dry_run_sends_nothing(server):
    usage = estimate(generation("openai", server.url, model="gpt-4o", count=1000))
    assert usage.requests == 100
    assert usage.dollars is not None
    assert usage.dollars > 0
    assert server.requests == []
    assert estimate(generation("anthropic", "", count=1000)).requests == 100  # nor needs a key


def test_rows_that_are_too_alike_are_made_up_for_many_at_a_time(tmp_path, monkeypatch):
    """What lacks is asked for in one go, from how many rows of those so far could be kept."""
    rounds = []
    whole = generating._all

    def counted(tasks):
        tasks = list(tasks)
        rounds.append(len(tasks))
        return whole(iter(tasks))

    monkeypatch.setattr(generating, "_all", counted)
    stated = {"domain": "sql", "count": 1000, "schemas": 40, "diversity_threshold": 0.7}
    report = generate(dataset_settings({"training": {"dataset": {"generation": stated}}}).generation, tmp_path / "a")
    assert report.too_alike > 0
    assert rounds[0] == 4
    assert len(rounds) <= 5


def test_without_a_key_it_says_where_to_put_one():
    with pytest.raises(DatasetError) as caught:
        api_key("openai", is_needed=True)
    assert "OPENAI_API_KEY" in str(caught.value.hint)


def test_a_generation_that_is_killed_ends_with_the_same_bytes(tmp_path):
    manifest = {
        "name": "expert-x",
        "version": "0.1.0",
        "base_models": [{"name": "b"}],
        "training": {"dataset": {"generation": {"domain": "rust", "count": 6000, "seed": 3}}},
    }
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "xpm", "dataset", "generate", "--json"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    first = subprocess.run(
        [*command, str(tmp_path / "whole")], env=environment, capture_output=True, text=True, check=True
    )
    process = subprocess.Popen(
        [*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    journal = tmp_path / "killed/data/dataset.jsonl.journal"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > 4):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with journal.open("ab") as stream:
        stream.write(b'{"batch": 99, "ro')  # as a kill in the midst of a write leaves it
    again = subprocess.run(
        [*command, str(tmp_path / "killed")], env=environment, capture_output=True, text=True, check=True
    )
    assert "going on after" in again.stderr
    reports = [{**json.loads(done.stdout), "elapsed_s": 0} for done in (first, again)]
    assert reports[0] == reports[1]
    files = [tmp_path / folder / "data/dataset.jsonl" for folder in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_templates_are_the_same_for_the_same_seed(tmp_path):
    stated = dataset_settings(
        {"training": {"dataset": {"generation": {"domain": "sql", "count": 300, "seed": 7}}}}
    ).generation
    for name in ("a", "b"):
        generate(stated, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    generate(dataclasses.replace(stated, seed=8), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() != (tmp_path / "a").read_bytes()
