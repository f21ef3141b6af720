"""Training a routing head from an expert's own prompts."""

import random

import numpy as np
import pytest

from xpm_build.errors import BuildError
from xpm_build.routing.frames import corpus, filled, own_topics
from xpm_build.routing.heads import train_head
from xpm_build.routing.package import head_of_folder
from xpm_build.rows import write_rows
from xpm_index.manifest import Manifest
from xpm_runtime.router.head import Head
from xpm_runtime.router.prompt import read_prompt
from xpm_runtime.router.topics import shipped_topics
from xpm_runtime.router.vectors import own_vectors

SLOTS = {"bird": ["robin", "heron", "wren", "kestrel", "owl"], "place": ["the marsh", "my garden", "the coast"]}
FRAMES = [
    "Which ring is on the $bird?",
    "Record a $bird seen at $place.",
    "Wingspan of a $bird in the ringing log",
    "Was the $bird ringed at $place?",
    "Add a ringing record: $bird, $place",
    "Weight of the $bird that was caught at $place",
]


def rows():
    rng = random.Random(1)
    return [(filled(frame, SLOTS, rng), frame) for frame in FRAMES for _ in range(6)]


@pytest.fixture(scope="module")
def manifest():
    bases = [{"name": "tiny"}]
    return Manifest({"name": "expert-ringing", "version": "0.1.0", "base_models": bases, "capabilities": ["ringing"]})


@pytest.fixture(scope="module")
def made(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ringing")
    (folder / "data").mkdir()
    write_rows(
        folder / "data" / "train.jsonl",
        [{"prompt": prompt, "completion": "x", "phrasing": [frame]} for prompt, frame in rows()],
    )
    said = []
    return folder, *head_of_folder(folder, manifest, report=said.append), said


def test_it_knows_its_prompts(made):
    _, data, facts, said = made
    head = Head.from_bytes(data, where="x")
    vectors = own_vectors()

    def odds(text):
        return head.log_odds(read_prompt(text).features, vectors.embed([text])[0])

    assert odds("Which ring has the kestrel that was caught at the coast?") > 0
    assert all(odds(text) < 0 for text in ("What is SQL?", "Translate to French: hello", "hello", "def f(x):"))
    assert facts["accuracy"] > 0.9
    assert facts["others"] > 1000
    assert any("phrasings that were left out" in line for line in said)


def test_the_same_data_give_the_same_head(made, manifest):
    folder, data, _, _ = made
    assert head_of_folder(folder, manifest, report=lambda text: None)[0] == data


def test_with_an_embedder_there_are_weights_for_both(made, manifest, tmp_path, monkeypatch):
    class Other:
        digest = "other"

        def embed(self, texts):
            return np.array([[5.0 + ("ring" in text), 1.0] for text in texts], np.float32)

    monkeypatch.setattr("xpm_build.routing.package.Embedder.for_routing", lambda folder: Other())
    data, _ = head_of_folder(made[0], manifest, embedder=tmp_path, report=lambda text: None)
    head = Head.from_bytes(data, where="x")
    assert head.embedder == own_vectors().digest
    assert head.embedded.embedder == "other"
    features = read_prompt("x").features
    first, second = (head.embedded.log_odds(features, vector) for vector in Other().embed(["ring", "bird"]))
    assert first > second


def test_without_data_there_is_none(tmp_path, manifest):
    said = []
    assert head_of_folder(tmp_path, manifest, report=said.append) == (b"", {})
    assert "no routing head" in said[0]
    with pytest.raises(BuildError, match="at least"):
        train_head(["a", "b"], called=())


def test_an_experts_own_topic_is_not_trained_against():
    prompts = [row.text for row in corpus() if row.topic == "cooking"][:60]
    trained = train_head(prompts, called=("kitchen",))
    assert "cooking" in trained.own_topics


def test_what_comes_with_xpm_has_all_topics():
    assert [topic.name for topic in shipped_topics().topics] == list(own_topics())
    assert len({row.text for row in corpus()}) > 2000
