"""``xpm route``: what it explains of the experts that come with xpm, and how it judges labelled prompts."""

import json
import zlib

import numpy as np
import pytest

from xpm.project import EMBEDDED_EXPERTS, Project

SQL = "List the names of users with age over 25. Schema: users(id, name, age)"


@pytest.fixture
def xpm(command, tmp_path):
    """``xpm("route", …)`` in a project with the experts that come with xpm."""
    Project(wants=EMBEDDED_EXPERTS).save(tmp_path)
    return command


@pytest.mark.parametrize(
    ("prompt", "experts"),
    [
        (SQL, ["expert-sql"]),
        ("show top products", ["expert-sql"]),
        ("What is SQL?", []),
        ("How many people live in Paris?", []),
        ("hello", []),
        ("Convert to JSON: city is Oslo, population is 709037", ["expert-json"]),
        ("Write a Python function def total(values: list[int]) -> int that parses a JSON text", ["expert-python"]),
        ("Rust: fn count_negative(numbers: Vec<i64>) -> i64 returns how many are negative", ["expert-rust"]),
    ],
)
def test_what_it_would_do(prompt, experts, xpm):
    found = json.loads(xpm("route", "--json", prompt).stdout)
    assert found["experts"] == experts
    assert found["scores"].keys() == found["reasons"].keys() == set(EMBEDDED_EXPERTS)
    assert found["ms"]["all"] > 0
    if experts:
        assert found["decoding"]["temperature"] == 0  # what the six were judged with
    else:
        assert found["decoding"]["temperature"] == 0.6


def test_the_explanation(xpm):
    shown = xpm("route", SQL).stdout
    for part in ("expert-sql", "chosen", "topic sql", "keywords list, schema", "because", "decoding", "took"):
        assert part in shown
    assert "topic +" in xpm("route", "-v", SQL).stdout


def test_the_embedder_that_is_set_is_used_with_its_topics(xpm, tmp_path, monkeypatch):
    read = []

    class Embedder:
        digest = "other"

        def embed(self, texts):
            read.extend(texts)
            return np.zeros((len(texts), 4), np.float32)

    folder = tmp_path / "embedder"
    folder.mkdir()
    monkeypatch.setenv("XPM_ROUTER_EMBEDDER", str(folder))
    assert "not an exported embedder" in str(xpm("route", SQL, code=1))
    monkeypatch.setattr("xpm_runtime.embedder.Embedder.for_routing", lambda folder: Embedder())
    assert json.loads(xpm("route", "--json", SQL).stdout)["experts"] == ["expert-sql"]
    assert read == [SQL]
    (folder / "topics.safetensors").write_bytes(b"x" * 100)
    assert "topics.safetensors cannot be read" in str(xpm("route", SQL, code=1))


@pytest.fixture
def labelled(tmp_path):
    rows = [(SQL, ["expert-sql"]), ("hello", []), ("What is SQL?", ["expert-sql"])]
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": prompt, "experts": experts}) for prompt, experts in rows))
    return path


def test_judging(xpm, labelled, tmp_path):
    found = json.loads(xpm("route", "--eval", str(labelled), "--json").stdout)
    assert (found["num_prompts"], round(found["accuracy"], 2)) == (3, 0.67)
    assert [each["prompt"] for each in found["wrong"]] == ["What is SQL?"]
    recall = {each["name"]: each["recall"] for each in found["experts"]}
    assert recall == {"(base)": 1.0, "expert-sql": 0.5}
    done = xpm("route", "--eval", str(labelled), "--confusion", "who.png", "-v")
    assert "66.7%" in done.stdout
    assert "'What is SQL?': (base) instead of expert-sql" in done.stdout
    assert "1 (base), 2 expert-sql" in done.stderr
    data = (tmp_path / "who.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start])
    width = int.from_bytes(data[16:20])
    assert len(zlib.decompress(data[start + 4 : start + 4 + size])) == width * (1 + 3 * width)


def test_judging_conversations(xpm, tmp_path):
    turns = [(SQL, ["expert-sql"]), ("hm, sorted", ["expert-sql"]), ("thanks", []), ("without ids", ["expert-sql"])]
    row = {"turns": [{"prompt": prompt, "experts": experts} for prompt, experts in turns]}
    alone = {"prompt": "without ids", "experts": []}
    (tmp_path / "talks.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(alone)}\n")
    found = json.loads(xpm("route", "--eval", "talks.jsonl", "--json").stdout)
    assert (found["num_prompts"], found["wrong"]) == (5, [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"turns": 1}', "line 1 is no labelled prompt"),
        ('{"turns": [{"prompt": "x"}]}', "line 1 is no labelled prompt"),
        ('{"turns": []}', "holds no labelled prompt"),
        ('{"turns": [{"prompt": "x", "experts": ["expert-chess"]}]}', "names expert-chess, which is not installed"),
        ('{"prompt": "x"}', "line 1 is no labelled prompt"),
        ("[1]", "line 1 is no labelled prompt"),
        ('{"prompt": "x", "experts": ["expert-chess"]}', "names expert-chess, which is not installed"),
        ("", "holds no labelled prompt"),
    ],
)
def test_labels_that_are_none(line, message, xpm, tmp_path):
    (tmp_path / "bad.jsonl").write_text(line)
    assert message in str(xpm("route", "--eval", "bad.jsonl", code=2))


def test_options_that_contradict(xpm, labelled):
    assert "own prompts" in str(xpm("route", "--eval", str(labelled), "x", code=2))
    assert "needs --eval" in str(xpm("route", "--confusion", "x.png", "x", code=2))
