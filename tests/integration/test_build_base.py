"""`xpm build base` from a Hugging Face id, against a server that speaks the hub's protocol."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support.hub_server import serve_model


def _xpm(*arguments, cwd, **environment):
    command = [sys.executable, "-m", "xpm.cli.main", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return subprocess.run(command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=300)


@pytest.fixture
def hub(tiny_base, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_base.source, model)
    (model / "training_args.bin").write_bytes(b"\x80\x04.")
    with serve_model("acme/tiny", model) as (endpoint, asked):
        yield endpoint, asked


def test_by_id(hub, tmp_path):
    endpoint, asked = hub
    options = ["--name", "tiny", "--variant", "int4", "--json", "--out", tmp_path / "dist"]
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    done = _xpm("build", "base", "acme/tiny", *options, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dist" / "tiny-int4.v0.1.0.base").is_file()
    assert not any("training_args" in path for path in asked), "nothing that may hold code is fetched"
    before = sum("model.safetensors" in path and path.startswith("GET") for path in asked)
    assert before == 1
    again = _xpm("build", "base", "acme/tiny", *options, cwd=tmp_path, **environment)
    assert again.returncode == 0, again.stderr
    assert sum("model.safetensors" in path and path.startswith("GET") for path in asked) == before


@pytest.mark.parametrize(
    ("name", "message"), [("acme/none", "could not be fetched"), ("nowhere", "neither a folder nor")]
)
def test_what_is_not_there(name, message, hub, tmp_path):
    endpoint, _ = hub
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    done = _xpm("build", "base", name, "--name", "tiny", "--json", cwd=tmp_path, **environment)
    assert done.returncode != 0
    assert message in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "dist").exists()
