"""How strongly experts act together: the sum in PyTorch is the engine's, and its scales are
learned, kept or not, and told."""

import json
import shutil
from contextlib import closing

import numpy as np
import pytest
import torch

from xpm_build.adapter.together import Together, batch_of
from xpm_build.composition.fit import FitSettings, fit_scales
from xpm_build.composition.learn import SCALES, ScaleOptions, learn_scales
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import BuildError, EvaluationError
from xpm_build.evaluation.answers import AnswerJournal, answerer_of
from xpm_build.evaluation.own_cases import validation_rows
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.rows import read_rows, write_rows
from xpm_runtime import AdapterSpec, Engine

_FIT = FitSettings(steps=4, batch_size=2)
_OPTIONS = ScaleOptions(cases=2, rows=8, judged=2, fit=_FIT)


@pytest.fixture
def expert(tiny_adapter, tmp_path):
    """``expert(name, seed)``: a folder with a random adapter, validation rows and a circle of cases."""

    def make(name, seed, kind="lora", num_valid=8):
        folder = tmp_path / name
        shutil.copytree(tiny_adapter(kind, seed).peft, folder)
        document = {
            "schema_version": "2.0",
            "name": name,
            "version": "0.1.0",
            "description": "x",
            "license": "MIT",
            "base_models": [{"name": "tiny"}],
            "decoding": {"max_tokens": 3},
        }
        (folder / "manifest.json").write_text(json.dumps(document))
        rows = [{"prompt": f"{name} {number}", "completion": f"yes {number}"} for number in range(num_valid + 3)]
        write_rows(folder / "data/valid.jsonl", rows[:num_valid])
        write_rows(folder / "data/test-rows.jsonl", rows[num_valid:])
        return folder

    return make


@pytest.fixture
def pair(expert):
    return {name: expert(name, seed) for name, seed in (("expert-a", 1), ("expert-b", 2))}


def test_the_sum_is_the_one_that_the_engine_computes(pair, tiny_base, tiny_adapter, tmp_path):
    together = Together(tiny_base.source, pair, tmp_path / "scratch")
    ids = list(range(20, 40))
    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=64) as engine:
        for number, name in enumerate(pair):
            engine.attach(AdapterSpec.read(name, tiny_adapter("lora", number + 1).slots))
        for scales in ((1.0, 1.0), (0.4, -0.5), (0.0, 2.0)):
            together.set_scales(torch.tensor(scales))
            with torch.no_grad():
                wanted = together.model(input_ids=torch.tensor([ids])).logits[0].numpy()
            got = engine.logits(ids, experts=tuple(pair), scales=scales)
            assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_fit_lowers_the_loss_and_is_repeatable(pair, tiny_base, tmp_path):
    together = Together(tiny_base.source, pair, tmp_path / "scratch")
    end = end_of_turn(tiny_base.source, load_tokenizer(tiny_base.source))
    rows = {name: list(read_rows(folder / "data/valid.jsonl")) for name, folder in pair.items()}
    settings = FitSettings(steps=12, batch_size=8, learning_rate=0.1)
    said = []
    scales = fit_scales(together, tiny_base.source, rows, end, settings, report=said.append)
    assert scales == fit_scales(together, tiny_base.source, rows, end, settings)
    assert all(each >= 0 for each in scales)
    assert said[0].startswith("step 1/12  loss ")
    first, last = (float(line.split()[3]) for line in (said[0], said[-1]))
    assert last < first


def test_a_batch_learns_answers_alone():
    batch = batch_of([((1, 2), (3,)), ((4,), (5, 6, 7))])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [4, 5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 3, -100], [-100, 5, 6, 7]]


def test_what_is_learned_is_judged_on_other_rows_and_told(pair, tiny_base, tmp_path, monkeypatch):
    fitted_on = {}

    def fit(together, base, rows, end, settings, *, report):
        fitted_on.update(rows)
        return 0.5, 0.25

    monkeypatch.setattr("xpm_build.composition.learn.fit_scales", fit)
    asked = []
    from xpm_build.evaluation.answers import Answerer

    answers = Answerer.answers

    def told(self, rows, experts, *arguments, scales=(), **named):
        asked.append(([row["prompt"] for row in rows], experts, scales))
        found, refusals = answers(self, rows, experts, *arguments, scales=scales, **named)
        if scales and rows[0]["prompt"].startswith("expert-a"):  # what is scaled gets one expert's rows right
            found = [row["completion"] for row in rows]
        return found, refusals

    monkeypatch.setattr(Answerer, "answers", told)
    found = learn_scales(list(pair.values()), tiny_base.source, tmp_path / "out", _OPTIONS)
    assert found.scales == {"expert-a": 0.5, "expert-b": 0.25}
    assert found.validation == (0.0, 0.5)
    document = json.loads((tmp_path / "out" / SCALES).read_text())
    assert document == found.to_dict()
    assert document["experts"]["expert-a"]["after"] == 1.0
    assert document["experts"]["expert-a"]["gained"]["difference"] == 1.0
    assert document["experts"]["expert-b"]["after"] == 0.0
    assert [each.name for each in (tmp_path / "out").iterdir()] == [SCALES]
    cases = {prompt for prompts, experts, _ in asked if len(experts) == 1 for prompt in prompts}
    judged = {prompt for prompts, _, _ in asked for prompt in prompts} - cases
    fitted = {row["prompt"] for rows in fitted_on.values() for row in rows}
    assert (len(cases), len(judged), len(fitted)) == (4, 4, 12)
    assert not cases & fitted
    assert not judged & fitted


def test_what_is_no_better_is_not_kept(pair, tiny_base, tmp_path):
    found = learn_scales(list(pair.values()), tiny_base.source, tmp_path / "out", _OPTIONS)
    assert found.validation == (0.0, 0.0)
    assert found.scales == {"expert-a": 1.0, "expert-b": 1.0} != found.fitted


def test_scaled_answers_are_remembered_apart(pair, tiny_base, tmp_path):
    rows = list(read_rows(pair["expert-a"] / "data/valid.jsonl"))
    from xpm_runtime import SamplingParams

    names, sampling, said = tuple(pair), SamplingParams(max_tokens=4, temperature=0.0), []
    with (
        closing(AnswerJournal(tmp_path / "journal")) as journal,
        answerer_of(tiny_base.source, "fp32", pair, journal, threads=1, report=lambda text: None) as answerer,
    ):

        def answered(scales):
            return answerer.answers(rows, names, sampling, scales=scales, what="x", report=said.append)[0]

        plain, scaled = answered(()), answered((0.1, 0.1))
        assert plain == answered(())
        assert scaled == answered((0.1, 0.1))
        assert plain != scaled
    assert sum("answered before" in line for line in said) == 2


def test_bounds(expert, pair, tiny_base, tmp_path):
    one, other = pair.values()
    out = tmp_path / "out"
    for given, kind, message in (
        ([one], EvaluationError, "2 to 10"),
        ([one] * 11, EvaluationError, "2 to 10"),
        ([one, one], EvaluationError, "same name"),
        ([one, tmp_path / "none"], EvaluationError, "does not exist"),
        ([one, expert("expert-ia3", 1, kind="ia3")], BuildError, "expert-ia3 is no plain update"),
        ([one, expert("expert-dora", 1, kind="dora")], BuildError, "expert-dora is no plain update"),
        ([one, expert("expert-few", 1, num_valid=1)], EvaluationError, "expert-few has 1 validation rows"),
        ([one, expert("expert-none", 1, num_valid=0)], EvaluationError, "no validation rows"),
    ):
        with pytest.raises(kind, match=message):
            learn_scales(given, tiny_base.source, out, _OPTIONS)
        assert not out.exists(), message
    assert validation_rows(other, dataset_settings({}))
