"""The folder that training needs, of a base that was never one: a GGUF file, or a base made here of a model."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from tests.support.hub_server import serve_model
from tests.support.projects import new_project
from xpm.errors import NotFoundError
from xpm.operations import install as operations
from xpm.operations.model_folder import model_folder
from xpm.operations.models import find_model
from xpm.progress import Silent
from xpm_build.base.export import open_checkpoint
from xpm_build.base.fingerprint import fingerprint
from xpm_index.errors import IntegrityError


@pytest.fixture
def environment(tmp_path):
    return new_project(tmp_path)


def add(environment, text):
    source = find_model(text, folder=environment.folder, cwd=environment.folder)
    return operations.use_model(environment, source, variant="int4").lock.base


def test_the_weights_of_a_gguf_file_are_written_whole(tiny_models, environment):
    gguf = tiny_models / "tiny-Q4_1.gguf"
    checkpoint = open_checkpoint(gguf)
    with model_folder(environment, str(gguf), progress=Silent()) as found:
        written = load_file(found / "model.safetensors")
        assert written.keys() == set(checkpoint)
        for name in checkpoint:
            np.testing.assert_array_equal(written[name], checkpoint[name])
        again = open_checkpoint(found)
        assert fingerprint(again, again.configuration) == fingerprint(checkpoint, checkpoint.configuration)
        model = AutoModelForCausalLM.from_pretrained(found, local_files_only=True)
        assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
    assert not found.exists()


@pytest.mark.parametrize("text", ["tiny-Q4_1.gguf", "Tiny.Llama"])
def test_a_base_that_was_made_here(text, tiny_models, environment):
    base = add(environment, str(tiny_models / text))
    with model_folder(environment, base.name, progress=Silent()) as found:
        assert (found / "model.safetensors").is_file()
        made = open_checkpoint(found)
        assert fingerprint(made, made.configuration) == base.archives[0].base_digest
    assert (tiny_models / text).exists()


def test_a_base_of_a_hub_is_fetched_again(tiny_models, environment, monkeypatch):
    with serve_model("Acme/Tiny.Llama", tiny_models / "Tiny.Llama") as (endpoint, _):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        base = add(environment, "Acme/Tiny.Llama")
        with model_folder(environment, base.name, progress=Silent()) as found:
            assert (found / "config.json").is_file()
            assert not list(environment.home.downloads.glob("models/*/*"))


def test_a_model_that_changed_is_refused(tiny_models, environment):
    copy = environment.folder / "tiny-Q4_1.gguf"
    copy.write_bytes((tiny_models / "tiny-Q4_1.gguf").read_bytes())
    base = add(environment, "./tiny-Q4_1.gguf")
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    with (
        pytest.raises(IntegrityError, match="is not the model that is locked"),
        model_folder(environment, base.name, progress=Silent()),
    ):
        pass


def test_what_is_nowhere(environment):
    with (
        pytest.raises(NotFoundError, match="neither a folder"),
        model_folder(environment, "nothing", progress=Silent()),
    ):
        pass


@pytest.mark.parametrize("package", ["xpm_build", "examples.embedded.real"])
def test_training_tells_nobody(package):
    """TRL counts trainings at its hub; here that is off, unless somebody turns it on."""
    code = f"import {package}, huggingface_hub.constants as c; print(c.HF_HUB_DISABLE_TELEMETRY)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "True"


def test_the_command_takes_a_gguf_file(tiny_models, environment):
    """Statistics in the base's tokens, which every command finds in the same way."""
    data = environment.folder / "data.jsonl"
    data.write_text(json.dumps({"prompt": "the cat", "completion": "sat"}) + "\n")
    command = [
        sys.executable,
        "-m",
        "xpm",
        "dataset",
        "stats",
        str(data),
        "--base",
        str(tiny_models / "tiny-Q4_1.gguf"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=environment.folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unit"] == "tokens"
