"""``xpm check`` and ``xpm new expert``: what was scaffolded is sound, and what is wrong is named by its key path."""

import json

import pytest
from click.testing import CliRunner

from xpm.cli.main import cli
from xpm.operations.scaffold import new_expert
from xpm_build.check import check
from xpm_build.errors import BuildError


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
        "manifest.json", "README.md", "LICENSE", "tests/test_cases.jsonl", ".gitattributes", ".gitignore",
    }  # fmt: skip
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
        (("training", "dataset", "streaming"), True, "training.dataset.streaming"),
        (("evaluation", "language"), "cobol", "evaluation.language"),
        (("soft_prompts",), [{"name": "x"}], "soft_prompts[0]"),
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
    document["training"]["dataset"]["streaming"] = True
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "tests/test_cases.jsonl").write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": ""}\n')
    assert {
        "routing.priority",
        "training.config.rank",
        "training.config.learning_rate",
        "training.config.epoch",
        "training.dataset.streaming",
        "tests/test_cases.jsonl:3",
    } <= set(errors(folder))


def test_what_is_missing_is_a_warning(folder):
    (folder / "LICENSE").unlink()
    findings = {finding.where: finding.is_error for finding in check(folder)}
    assert findings["LICENSE"] is False
    assert findings["quality_metrics"] is False


def test_no_manifest(tmp_path):
    with pytest.raises(BuildError, match=r"has no manifest\.json"):
        check(tmp_path)


def test_on_the_command_line(folder):
    done = CliRunner().invoke(cli, ["check", str(folder), "--json"])
    assert done.exit_code == 0
    assert {each["level"] for each in json.loads(done.stdout)} == {"warning"}
