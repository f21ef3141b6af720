"""Which cases an expert is judged on, what becomes of its answers, and when two experts are compared."""

import json
import shutil
from contextlib import closing

import pytest

from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import DatasetError, EvaluationError
from xpm_build.evaluation.answers import Answerer, AnswerJournal, sampling_of
from xpm_build.evaluation.cases import read_circles
from xpm_build.evaluation.compare import compare_experts
from xpm_build.evaluation.metrics import figures
from xpm_build.evaluation.report import to_markdown
from xpm_build.evaluation.validate import ValidationOptions, validate
from xpm_build.judges import Verdict
from xpm_build.rows import write_rows
from xpm_index.manifest import Manifest
from xpm_runtime import Request, SamplingParams

_TASKS = {name: {"train": f"{name}.jsonl", "test": f"{name}-test.jsonl"} for name in ("one", "two", "three")}


def document(**changes):
    return {
        "schema_version": "2.0",
        "name": "expert-facts",
        "version": "0.1.0",
        "description": "x",
        "license": "MIT",
        "base_models": [{"name": "tiny"}],
        "decoding": {"max_tokens": 4},
        **changes,
    }


def rows(name, count):
    return [{"prompt": f"{name} {number}", "completion": "yes"} for number in range(count)]


# Cases


def test_every_task_is_judged(tmp_path):
    for task, count in (("one", 9), ("two", 1), ("three", 9)):
        write_rows(tmp_path / f"{task}-test.jsonl", rows(task, count))
    settings = dataset_settings({"training": {"dataset": {"tasks": _TASKS}}})
    (circle,) = read_circles(tmp_path, settings, file=None, most=5)
    assert circle.name == "tasks"
    assert [row["prompt"] for row in circle.rows] == ["one 0", "two 0", "three 0", "one 1", "three 1"]
    assert [row["family"] for row in circle.rows] == ["one", "two", "three", "one", "three"]


def test_the_circles_of_a_split_are_cut_in_order(tmp_path):
    for name in ("rows", "group"):
        write_rows(tmp_path / f"data/test-{name}.jsonl", rows(name, 9))
    settings = dataset_settings({"training": {"dataset": {"split": {"hold_out": {"group": 0.2}}}}})
    circles = read_circles(tmp_path, settings, file=None, most=2)
    assert [(each.name, [row["prompt"] for row in each.rows]) for each in circles] == [
        ("rows", ["rows 0", "rows 1"]),
        ("group", ["group 0", "group 1"]),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a"}, "neither prompt"),
        ({"prompt": "a", "completion": ""}, "not empty"),
        ({"prompt": "a", "completion": {"b": 1}}, "must be a text"),
        ({"text": "a"}, "no prompt"),
        ({"messages": []}, "at least two"),
        ({"messages": [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]}, "no prompt"),
    ],
)
def test_what_is_no_case_is_named(row, message, tmp_path):
    write_rows(tmp_path / "cases.jsonl", [*rows("a", 1), row])
    with pytest.raises(DatasetError, match=rf"cases\.jsonl, line 2: .*{message}"):
        read_circles(tmp_path, dataset_settings({}), file=tmp_path / "cases.jsonl", most=9)


def test_a_file_without_cases_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(EvaluationError, match="no cases"):
        read_circles(tmp_path, dataset_settings({}), file=tmp_path / "empty.jsonl", most=9)


# Answers


@pytest.mark.parametrize(("language", "share"), [("text", 1.0), ("python", 0.0)])
def test_code_is_normalised_by_its_spaces_alone(language, share):
    found = figures([Verdict(right=False, parses=True)], ["x > 5"], ["X  < 5"], language)
    assert found.normalised_exact == share


@pytest.mark.parametrize(
    ("decoding", "key"),
    [
        ({"max_tokens": "100"}, "decoding.max_tokens"),
        ({"max_tokens": True}, "decoding.max_tokens"),
        ({"repetition_penalty": "1"}, "decoding.repetition_penalty"),
        ({"stop_sequences": "end"}, "decoding.stop_sequences"),
        ({"stop_sequences": [1]}, "decoding.stop_sequences"),
    ],
)
def test_a_decoding_that_makes_no_sense_is_named(decoding, key):
    with pytest.raises(EvaluationError, match=key):
        sampling_of(Manifest.parse(json.dumps(document(decoding=decoding)).encode()))


def test_what_the_manifest_says_of_decoding_holds():
    decoding = {"max_tokens": 7, "stop_sequences": ["\n\n"], "temperature": 0.8, "repetition_penalty": None}
    sampling = sampling_of(Manifest.parse(json.dumps(document(decoding=decoding)).encode()))
    assert (sampling.max_tokens, sampling.stop, sampling.temperature) == (7, ("\n\n",), 0.0)


def test_a_prompt_that_no_lane_holds_costs_itself_alone(tiny_engine, tmp_path):
    sampling = sampling_of(Manifest.parse(json.dumps(document()).encode()))
    asked = [{"prompt": "short"}, {"prompt": "long " * 500}, {"prompt": "short"}]
    answerer = Answerer(tiny_engine, AnswerJournal(tmp_path / "journal"))
    answers, refusals = answerer.answers(asked, (), sampling, what="rows", report=lambda text: None)
    assert answers[0] == answers[2]
    assert answers[1] == ""
    assert [bool(each) for each in refusals] == [False, True, False]
    assert "a lane holds" in refusals[1]
    assert tiny_engine.violations() == []


def test_a_stopped_validation_goes_on(tiny_engine, tiny_adapter, tmp_path):
    sampling = sampling_of(Manifest.parse(json.dumps(document()).encode()))
    asked = [{"prompt": f"case {number}"} for number in range(6)]
    one, other = tiny_adapter("lora", seed=1).slots, tiny_adapter("lora", seed=2).slots

    def answered(count, journal, slots=one, experts=("expert",)):
        told = []
        with closing(AnswerJournal(journal)) as kept:
            if "expert" in tiny_engine.attached:
                tiny_engine.detach("expert")
            answerer = Answerer(tiny_engine, kept)
            answerer.attach("expert", slots)
            answers, _ = answerer.answers(asked[:count], experts, sampling, what="rows", report=told.append)
        return answers, told[0]

    whole, told = answered(6, tmp_path / "whole")
    assert told == "rows: 6 cases"
    journal = tmp_path / "stopped"
    first, _ = answered(4, journal)
    with journal.open("ab") as stream:  # killed while it wrote the fifth
        stream.write(b'{"0123": "half')
    assert answered(6, journal) == (whole, "rows: 6 cases, 4 answered before")
    assert first == whole[:4]
    assert answered(6, journal)[1] == "rows: 6 cases, 6 answered before"
    assert answered(6, journal, experts=())[1] == "rows: 6 cases", "the base alone answers for itself"
    assert answered(6, journal, slots=other)[1] == "rows: 6 cases", "another adapter answers for itself"


def test_results_come_as_they_are_done(tiny_engine):
    requests = [Request(prompt="case", sampling=SamplingParams(max_tokens=count)) for count in (9, 2, 5)]
    places = [place for place, _ in tiny_engine.as_completed(requests)]
    assert places == [1, 2, 0]
    for _ in tiny_engine.as_completed(requests):
        break
    assert tiny_engine.violations() == []
    assert [each.text for each in tiny_engine.generate_batch(requests)] == [
        tiny_engine.generate("case", sampling=each.sampling).text for each in requests
    ]


def test_preferences_are_judged_and_what_was_edited_meanwhile_is_kept(tiny_base, tiny_adapter, tmp_path):
    folder = tmp_path / "expert"
    shutil.copytree(tiny_adapter("lora").peft, folder)
    (folder / "manifest.json").write_text(json.dumps(document(evaluation={"language": "python"})))
    cases = [
        {"prompt": "long " * 3000, "completion": "x"},
        {"prompt": "a", "chosen": "x = 1", "rejected": "x = 2"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x = 1"}]},
    ]
    write_rows(tmp_path / "cases.jsonl", cases)

    def edit(text):
        (folder / "manifest.json").write_text(json.dumps(document(description="edited meanwhile")))

    options = ValidationOptions(file=tmp_path / "cases.jsonl")
    found = validate(folder, tiny_base.source, options, report=edit)
    manifest = Manifest.parse((folder / "manifest.json").read_bytes())
    assert manifest.raw["description"] == "edited meanwhile"
    assert manifest.quality_metrics["metric"] == found.metric == "equal text (no checks to run)"
    failures = found.failures()
    assert "a lane holds" in failures[0]["reason"]
    assert [each["wanted"] for each in failures[1:]] == ["x = 1", "x = 1"]
    assert [each["prompt"] for each in failures[1:]] == ["a", "a"]
    assert sorted(each.name for each in (folder / "validation").iterdir()) == [
        "answers.jsonl",
        "report.html",
        "report.json",
        "report.md",
        "report.png",
    ]
    assert "](report.png)" in (folder / "validation/report.md").read_text()


def test_answers_are_as_their_users_have_them(tiny_base, tiny_adapter, tmp_path):
    """Under the grammar that the manifest asks for unless that is switched off, whether what PEFT
    saved is there or slots alone."""
    write_rows(tmp_path / "cases.jsonl", [{"prompt": "is it?", "completion": "yes"}])
    whole, compiled = tmp_path / "whole", tmp_path / "compiled"
    shutil.copytree(tiny_adapter("lora").peft, whole)
    compiled.mkdir()
    shutil.copyfile(tiny_adapter("lora").slots, compiled / "slots.safetensors")
    decoding = {"max_tokens": 8, "use_grammar": True, "grammar_file": "yes.regex"}

    def answer(folder, **options):
        (folder / "manifest.json").write_text(
            json.dumps(document(decoding=decoding, evaluation={"language": "python"}))
        )
        validate(folder, tiny_base.source, ValidationOptions(file=tmp_path / "cases.jsonl", **options))
        return json.loads((folder / "validation/answers.jsonl").read_text())["answer"]

    with pytest.raises(EvaluationError, match=r"expert-facts: the grammar .* can't be read"):
        answer(whole)
    for folder in (whole, compiled):
        (folder / "yes.regex").write_text("yes|no")
    assert answer(whole) == answer(compiled)
    assert answer(whole) in ("yes", "no")
    assert answer(whole, grammar=False) == answer(compiled, grammar=False)
    assert answer(whole, grammar=False) not in ("yes", "no")


# Comparison


def validated(folder, metric, variant="fp32"):
    circle = {"cases": 2, "digest": "d", "expert": {"right": 0.5}, "by_family": {"all": [1, 2]}}
    (folder / "validation").mkdir(parents=True)
    report = {"name": folder.name, "version": "1", "metric": metric, "variant": variant, "circles": {"rows": circle}}
    (folder / "validation/report.json").write_text(json.dumps(report))
    write_rows(folder / "validation/answers.jsonl", [{"circle": "rows", "right": right} for right in (True, False)])
    return folder


@pytest.mark.parametrize(("metric", "paired"), [("execution accuracy", True), ("equal text (nothing was run)", False)])
def test_what_was_judged_by_another_measure_is_not_compared(metric, paired, tmp_path):
    folders = validated(tmp_path / "a", "execution accuracy"), validated(tmp_path / "b", metric)
    found, blocks = compare_experts(*folders)
    assert (found["circles"]["rows"]["paired"] is not None) is paired
    assert found["metrics"] == ["execution accuracy", metric]
    assert ("Not compared: " in to_markdown(blocks)) is not paired
    assert (f"the second by {metric}" in to_markdown(blocks)) is not paired


def test_what_was_judged_on_another_variant_is_named_by_it(tmp_path):
    folders = [validated(tmp_path / "a", "x", variant="fp32"), validated(tmp_path / "b", "x", variant="int4")]
    assert compare_experts(*folders)[0]["experts"] == ["a 1, variant fp32", "b 1, variant int4"]
