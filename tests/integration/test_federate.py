"""`xpm federate` through the command line: without its extra it says so, with it the folder has an adapter."""

import json

import pytest

from xpm.errors import MissingExtraError
from xpm.operations import extras
from xpm_build.rows import write_rows


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "expert"
    rows = [{"prompt": f"p {number}", "completion": "c", "family": f"f{number % 3}"} for number in range(40)]
    write_rows(made / "data/train.jsonl", rows[:32])
    write_rows(made / "data/valid.jsonl", rows[32:])
    document = {
        "schema_version": "2.0",
        "name": "expert-facts",
        "version": "0.1.0",
        "base_models": [{"name": "tiny"}],
        "training": {"config": {"rank": 2, "batch_size": 4}},
    }
    (made / "manifest.json").write_text(json.dumps(document))
    return made


def test_it_needs_its_extra(command, folder, tiny_base, monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "flwr" else found(name))
    error = command("federate", "expert", "--base", str(tiny_base.source), code=1)
    assert isinstance(error, MissingExtraError)
    assert error.hint == "pip install 'xpm-experts[federated]'"
    assert not (folder / "training").exists()


def test_a_folder_gets_its_adapter(command, folder, tiny_base):
    pytest.importorskip("flwr", reason="needs the federated extra")
    call = ("federate", "expert", "--base", str(tiny_base.source), "--clients", "3", "--rounds", "1", "--steps", "1")
    done = command(*call, "--concentration", "0.5", "--noise", "1", "--clip", "0.1")
    assert "after 1 rounds of 3 clients, ε 5.30 at δ 1e-05 for a client" in done.stderr
    assert (folder / "adapter_model.safetensors").is_file()
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    found = json.loads(command(*call, "--freeze-a", "--json").stdout)
    assert found["epsilon"] is None
    assert sum(found["rows"]) == 32
