"""``xpm check`` and ``xpm new expert``: what was scaffolded is sound, and what is wrong is named by its key path."""

import json

import pytest
from click.testing import CliRunner

from xpm.cli.main import cli
from xpm.operations.scaffold import new_expert
from xpm_build.check import check
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import BuildError
from xpm_build.training.settings import training_settings


@pytest.fixture
def folder(tmp_path):
    new_expert(tmp_path / "expert-tables", base="xpm-tiny", license="MIT", domain="sql")
    return tmp_path / "expert-tables"


def errors(folder):
    return {finding.where: finding.what for finding in check(folder) if finding.is_error}


@pytest.mark.parametrize("domain", ["", "json", "sql", "neo4j", "python", "typescript", "rust"])
@pytest.mark.parametrize("license", ["MIT", "Apache-2.0", "Odd-1.0"])
def test_what_is_scaffolded_has_no_error(domain, license, tmp_path):
    made = new_expert(tmp_path / "expert-x", base="xpm-tiny", license=license, domain=domain)
    assert {path.relative_to(tmp_path / "expert-x").as_posix() for path in made} == {
        "manifest.json",
        "README.md",
        "LICENSE",
        "tests/test_cases.jsonl",
        ".gitattributes",
        ".gitignore",
    }
    assert errors(tmp_path / "expert-x") == {}
    assert "{" not in (tmp_path / "expert-x/LICENSE").read_text()


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("name",), "Expert SQL", "name"),
        (("version",), "1", "version"),
        (("base_models", 0, "quantization"), "int3", "base_models[0].quantization"),
        (("base_models", 0, "adapters"), [{"type": "lora", "r": 999}], "base_models[0].adapters[0].r"),
        (("constraints", "load_order"), 11, "constraints.load_order"),
        (("routing", "priority"), 2, "routing.priority"),
        (("decoding", "temperature"), "hot", "decoding.temperature"),
        (("limitations",), [{"pattern": "x"}], "limitations[0]"),
        (("training", "config", "learning_rat"), 1, "training.config.learning_rat"),
        (("training", "config", "rank"), 0, "training.config.rank"),
        (("training", "dataset", "split", "valid"), 3, "training.dataset.split.valid"),
        (("training", "dataset", "streeming"), True, "training.dataset.streeming"),
        (("constraints", "optinal"), [], "constraints.optinal"),
        (("decoding", "repetition_penality"), 1.1, "decoding.repetition_penality"),
        (("base_models", 0, "prompt_template"), "chatlm", "base_models[0].prompt_template"),
        (("constraints", "requires"), ["tables@^1"], "constraints.requires"),
        (("constraints", "incompatible_with"), ["expert-tables"], "constraints.incompatible_with"),
        (("dependencies",), [{"name": "expert-tables", "version": "*"}], "constraints.requires"),
        (("routing", "keywords"), ["sql", " "], "routing.keywords"),
        (("decoding", "top_k"), 2.5, "decoding.top_k"),
        (("decoding", "max_new_tokens"), 0, "decoding.max_new_tokens"),
        (("decoding", "stop_sequences"), [""], "decoding.stop_sequences"),
        (("training", "decoding"), {"top_k": 2.5}, "training.decoding.top_k"),
        (("decoding", "grammar_file"), "grammar.gbnf", "decoding.grammar_file"),
        (("evaluation", "language"), "cobol", "evaluation.language"),
        (("soft_prompts",), [{"name": "x"}], "soft_prompts[0]"),
        (("soft_prompts",), [{"name": "x", "path": "soft/x.bin"}], "soft_prompts[0].path"),
    ],
)
def test_errors_are_named_by_their_key(path, value, where, folder):
    document = json.loads((folder / "manifest.json").read_text())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(document))
    assert where in errors(folder)


def test_several_errors_come_at_once(folder):
    document = json.loads((folder / "manifest.json").read_text())
    document["routing"]["priority"] = 2
    document["training"]["config"] |= {"rank": 0, "learning_rate": -1, "epoch": 2}
    document["training"]["dataset"]["streeming"] = True
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "tests/test_cases.jsonl").write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": ""}\n')
    assert {
        "routing.priority",
        "training.config.rank",
        "training.config.learning_rate",
        "training.config.epoch",
        "training.dataset.streeming",
        "tests/test_cases.jsonl:3",
    } <= set(errors(folder))


def test_what_is_missing_is_a_warning(folder):
    (folder / "LICENSE").unlink()
    findings = {finding.where: finding.is_error for finding in check(folder)}
    assert findings["LICENSE"] is False
    assert findings["quality_metrics"] is False


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        ({"license": "MIT-ish"}, "license", "did you mean MIT?"),
        ({"license": "my own"}, "license", "LicenseRef-NAME"),
        ({"base_models": [{"name": "xpm-tinny"}]}, "base_models[0].name", "did you mean xpm-tiny?"),
        (
            {"base_models": [{"name": "xpm-tiny", "prompt_template": "house style"}]},
            "base_models[0].prompt_template",
            "base's own",
        ),
        ({"favourite_colour": "green"}, "favourite_colour", "begins with _"),
        ({"evaluation": {"language": "sql", "cases": 3}}, "evaluation.cases", ""),
    ],
)
def test_what_may_be_meant_so_is_a_warning(changes, where, hint, folder):
    document = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(document))
    (found,) = [each for each in check(folder, bases=["xpm-tiny"]) if each.where == where]
    assert not found.is_error
    assert hint in found.hint


def test_comments_and_sections_for_people_are_left_alone(folder):
    document = json.loads((folder / "manifest.json").read_text())
    document |= {"_trainning": 1, "$schema": "x", "perf": {"vram": 3}, "quality_metrics": {"quality": "16/18"}}
    (folder / "manifest.json").write_text(json.dumps(document))
    assert not [each for each in check(folder) if each.what.startswith("nothing reads")]


def test_a_misspelt_key_says_which_was_meant(folder):
    document = json.loads((folder / "manifest.json").read_text())
    document["trainning"] = document.pop("training")
    document["routing"]["keywrods"] = document["routing"].pop("keywords")
    (folder / "manifest.json").write_text(json.dumps(document))
    found = {each.where: each.hint for each in check(folder) if each.is_error}
    assert found == {"trainning": "did you mean training?", "routing.keywrods": "did you mean keywords?"}


# A training section as it is written for another program; a warning each for what is passed over, and no error.
_ELSEWHERE = {
    "dataset": {
        "path": "datasets/train.jsonl",
        "format": "jsonl",
        "streaming": True,
        "source": "multi-source",
        "sources": [{"name": "owner/questions", "original_examples": 9}],
        "preprocessing": {"total_examples": 9, "deduplication": "by_question"},
        "field_mapping": {"text": "text"},
    },
    "config": {
        "method": "sft",
        "adapter_type": "dora",
        "use_unsloth": True,
        "rank": 12,
        "lora_alpha": 24,
        "epochs": 1.5,
        "dataloader_num_workers": 8,
        "dataloader_pin_memory": False,
        "fp16": False,
        "use_tf32": True,
        "use_sdpa": True,
        "torch_compile": False,
        "report_to": "none",
        "optim": "adamw_torch",
        "save_strategy": "steps",
        "save_steps": 250,
        "eval_steps": 250,
        "load_best_model_at_end": True,
        "gradient_checkpointing": "selective",
        "packing": True,
        "group_by_length": False,
        "learning_rate": 5e-5,
        "batch_size": 2,
    },
    "checkpoint": "checkpoint-1000",
}


def test_a_training_section_for_another_program(folder):
    document = json.loads((folder / "manifest.json").read_text()) | {"training": _ELSEWHERE}
    (folder / "manifest.json").write_text(json.dumps(document))
    assert errors(folder) == {}
    passed = [each.where for each in check(folder) if "is passed over" in each.what]
    assert sorted(passed) == [
        "training.config.dataloader_num_workers",
        "training.config.save_strategy",
        "training.config.use_tf32",
        "training.config.use_unsloth",
        "training.dataset.preprocessing.deduplication",
        "training.dataset.preprocessing.total_examples",
        "training.dataset.streaming",
    ]
    settings = training_settings(document)
    assert (settings.alpha, settings.optimizer, settings.gradient_checkpointing) == (24, "adamw_torch", True)
    assert dataset_settings(document).sources == ("owner/questions", "multi-source")


def test_no_manifest(tmp_path):
    with pytest.raises(BuildError, match=r"has no manifest\.json"):
        check(tmp_path)


def test_on_the_command_line(folder):
    done = CliRunner().invoke(cli, ["check", str(folder), "--json"])
    assert done.exit_code == 0
    assert {each["level"] for each in json.loads(done.stdout)} == {"warning"}
