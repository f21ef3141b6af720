"""The matrix of what experts lose beside each other: on the real engine, with a tiny random base."""

import json
import shutil

import pytest

from xpm_build.adapter.fuse import FuseOptions, Part, fuse
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.errors import EvaluationError
from xpm_build.evaluation.conflict_report import conflict_blocks, draw_heat_map
from xpm_build.evaluation.conflicts import JOURNAL, MatrixOptions, conflict_matrix
from xpm_build.packages import build_expert
from xpm_build.rows import write_rows

_RECIPE = {
    "generation": {"domain": "json", "count": 60, "seed": 1},
    "split": {"seed": 810, "valid": 0.1, "test": 0.2, "hold_out": {"group": 0.2, "phrasing": 0.15}},
}


@pytest.fixture
def expert(tiny_adapter, tmp_path):
    """``expert(name, seed)``: a folder with a random adapter and a few cases, or without."""

    def make(name, seed, cases=3, **manifest):
        folder = tmp_path / name
        shutil.copytree(tiny_adapter("lora", seed).peft, folder)
        document = {
            "schema_version": "2.0",
            "name": name,
            "version": "0.1.0",
            "description": "x",
            "license": "MIT",
            "base_models": [{"name": "tiny"}],
            "decoding": {"max_tokens": 3},
            **manifest,
        }
        (folder / "manifest.json").write_text(json.dumps(document))
        if cases:
            rows = [{"prompt": f"{name} {number}", "completion": "yes"} for number in range(cases)]
            write_rows(folder / "tests/test_cases.jsonl", rows)
        return folder

    return make


def test_each_is_judged_beside_each(expert, tiny_base, tmp_path):
    folders = [expert("expert-a", 1), expert("expert-b", 2), expert("expert-c", 3)]
    built = build_expert(folders[2], tmp_path / "dist", base=tiny_base.source)
    (tmp_path / "out").mkdir()
    said = []
    found = conflict_matrix(folders, tiny_base.source, tmp_path / "out", MatrixOptions(cases=2), report=said.append)
    document = json.loads((tmp_path / "out/matrix.json").read_text())
    assert document == found.to_dict()
    assert list(document["experts"]) == ["expert-a", "expert-b", "expert-c"]
    row = document["experts"]["expert-b"]
    assert row["cases"] == 2
    assert list(row["beside"]) == ["expert-a", "expert-c", "all"]
    assert row["beside"]["all"]["circles"] == {"written": [0, 0, 2]}
    assert row["beside"]["all"]["interval"] == [0.0, 0.0]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "matrix.html",
        "matrix.json",
        "matrix.md",
        "matrix.png",
    ]
    assert (tmp_path / "out/matrix.png").read_bytes().startswith(b"\x89PNG")
    assert sum("cases" in line for line in said) == 3 * 4
    shutil.rmtree(folders[2])
    with pytest.raises(EvaluationError, match="expert-c has no cases"):  # a package brings none
        conflict_matrix([*folders[:2], built.path], tiny_base.source, tmp_path / "again", MatrixOptions())
    assert not (tmp_path / "again").exists()


def test_what_was_lost_is_told_in_points():
    cell = {"right": 0.7, "difference": -0.2, "interval": [-0.3, -0.1]}
    even = {"right": 0.9, "difference": 0.01, "interval": [-0.02, 0.04]}
    document = {
        "experts": {
            "a": {"cases": 10, "alone": 0.9, "metric": "equal", "beside": {"b": cell}, "fused": {"a-b": even}},
            "b": {"cases": 20, "alone": 0.5, "metric": "runs", "beside": {"a": even}},
        }
    }
    _, (_, table), _, (_, measures) = conflict_blocks(document)
    assert table == [
        ["expert", "cases", "alone", "beside a", "beside b", "a-b instead"],
        ["a", "10", "90.0 %", "", "-20.0 [-30.0, -10.0] *", "+1.0 [-2.0, +4.0]"],
        ["b", "20", "50.0 %", "+1.0 [-2.0, +4.0]", "", ""],
    ]
    assert measures[1:] == [["a", "equal"], ["b", "runs"]]


def test_a_fused_expert_answers_instead(expert, tiny_base, tmp_path, monkeypatch):
    from tests.support import models

    folders = [expert("expert-a", 1), expert("expert-b", 2)]
    model = models.load(tiny_base.source)
    parts = [Part(folder=each) for each in folders]
    made = fuse(parts, tmp_path / "fused", adaptable(model), base_digest(model), FuseOptions()).folder
    asked = []
    from xpm_build.evaluation.answers import Answerer

    answers = Answerer.answers

    def told(self, rows, experts, *arguments, **named):
        found = answers(self, rows, experts, *arguments, **named)
        asked.append((experts, found[0]))
        return found

    monkeypatch.setattr(Answerer, "answers", told)
    options = MatrixOptions(fused=(made,))
    found = conflict_matrix(folders, tiny_base.source, tmp_path / "out", options).to_dict()
    assert list(found["experts"]["expert-a"]["fused"]) == ["expert-a-b"]
    of_a = dict(asked[:3])
    assert of_a["expert-a-b",] == of_a["expert-a", "expert-b"], "it writes what its parts write together"
    assert of_a["expert-a-b",] != of_a["expert-a",]
    with pytest.raises(EvaluationError, match="expert-a was not fused"):
        conflict_matrix(folders, tiny_base.source, tmp_path / "no", MatrixOptions(fused=(folders[0],)))


def test_cases_of_the_recipe_are_made_once(expert, tiny_base, tmp_path):
    recipe = {"training": {"dataset": _RECIPE}, "evaluation": {"language": "json"}, "decoding": {"max_tokens": 1}}
    folders = [expert("expert-a", 1), expert("expert-b", 2, cases=0, **recipe)]
    said = []
    for _ in range(2):
        found = conflict_matrix(folders, tiny_base.source, tmp_path / "out", MatrixOptions(cases=2), report=said.append)
    assert [each.name for each in found.rows[1].circles] == ["rows", "group", "phrasing"]
    assert sum("making its data" in line for line in said) == 1
    assert sorted(each.name for each in (tmp_path / "out/cases/expert-b/data").iterdir()) == [
        "test-group.jsonl",
        "test-phrasing.jsonl",
        "test-rows.jsonl",
        "valid.jsonl",
    ]
    assert not (folders[1] / "data").exists()


def test_bounds(expert, tiny_base, tmp_path):
    one, other = expert("expert-a", 1), expert("expert-b", 2)
    out = tmp_path / "out"
    for given, message in (
        ([one], "2 to 10"),
        ([one] * 11, "2 to 10"),
        ([one, one], "called expert-a apart"),
        ([one, tmp_path / "none"], "does not exist"),
        ([one, expert("all", 3)], "called all apart"),
        ([one, expert("expert-d", 4, cases=0)], "expert-d has no cases"),
    ):
        with pytest.raises(EvaluationError, match=message):
            conflict_matrix(given, tiny_base.source, out, MatrixOptions())
        assert not out.exists()
    assert other.is_dir()


def test_a_stopped_matrix_goes_on(expert, tiny_base, tmp_path):
    folders = [expert("expert-a", 1), expert("expert-b", 2)]

    class Stopped(Exception):
        pass

    def stop(text):
        if text.startswith("expert-b alone"):
            raise Stopped

    with pytest.raises(Stopped):
        conflict_matrix(folders, tiny_base.source, tmp_path / "out", MatrixOptions(), report=stop)
    assert (tmp_path / "out" / JOURNAL).is_file()
    said = []
    conflict_matrix(folders, tiny_base.source, tmp_path / "out", MatrixOptions(), report=said.append)
    assert [line for line in said if "answered before" in line] == [
        "expert-a alone: 3 cases, 3 answered before",
        "expert-a beside expert-b: 3 cases, 3 answered before",
    ]
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_a_picture_of_what_nobody_loses(tmp_path):
    even = {"right": 1.0, "difference": 0.0, "interval": [0.0, 0.0]}
    experts = {name: {"beside": {other: even}} for name, other in (("a", "b"), ("b", "a"))}
    draw_heat_map({"experts": experts}, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
