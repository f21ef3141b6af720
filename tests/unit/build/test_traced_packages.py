"""Packages of a base whose graph is traced through Optimum, and of an expert for it."""

import json
import subprocess
import sys

import pytest

from tests.support.models import save_adapter
from tests.support.traced_models import TRACED, save_traced_model
from xpm_build.errors import BuildError
from xpm_build.packages import build_base, build_expert
from xpm_index.archive import extract_archive, read_files, read_manifest
from xpm_runtime import AdapterSpec, Engine, SamplingParams


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_traced_model(tmp_path_factory.mktemp("gpt2") / "source", "gpt2")


@pytest.fixture(scope="module")
def bases(source, tmp_path_factory):
    built = build_base(source, tmp_path_factory.mktemp("bases"), name="tiny-gpt", version="1.0.0")
    return {each.variant: each for each in built}


def test_a_base_in_the_variants_that_there_are(bases):
    assert list(bases) == ["source", "fp32"]
    assert bases["fp32"].max_logit_error < 1e-4
    manifests = [read_manifest(each.path) for each in bases.values()]
    assert len({each.base.digest for each in manifests}) == 1
    assert manifests[1].raw["base"]["architecture"] == "gpt2"
    files = read_files(bases["fp32"].path)
    assert {"exported.onnx", "model.onnx_data", "graph.json", "tokenizer.json"} <= set(files)
    assert json.loads(files["graph.json"])["form"] == "exported"


def test_the_same_model_gives_the_same_bytes(source, bases, tmp_path):
    (again,) = build_base(source, tmp_path, name="tiny-gpt", version="1.0.0", variants=["fp32"])
    assert again.digest == bases["fp32"].digest


def test_what_its_exporter_can_t_do_is_refused(source, tmp_path):
    with pytest.raises(BuildError, match="no int4 of a base that is exported through Optimum"):
        build_base(source, tmp_path, name="x", version="1.0.0", variants=["source", "int4"])
    with pytest.raises(BuildError, match="bases of type 'gpt2' are not supported"):
        build_base(source, tmp_path, name="x", version="1.0.0", exporter="written")
    assert not list(tmp_path.iterdir())


def test_an_expert_for_it(source, bases, tmp_path):
    folder = save_adapter(source, tmp_path / "expert-x", TRACED["gpt2"].adapters()["dora"], seed=3)
    manifest = {"schema_version": "2.0", "name": "expert-x", "version": "0.1.0", "description": "x", "license": "MIT"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "base_models": [{"name": "tiny-gpt"}]}))
    built = build_expert(folder, tmp_path / "dist", base=source)
    assert built.max_logit_error < 1e-4
    for archive, name in ((bases["fp32"].path, "base"), (built.path, "expert")):
        (tmp_path / name).mkdir()
        extract_archive(archive, tmp_path / name)
    with Engine.load(tmp_path / "base", device="cpu", threads=1, max_lanes=1) as engine:
        engine.attach(AdapterSpec.read("x", tmp_path / "expert" / "slots.safetensors"))
        answers = [
            engine.generate([5, 6, 7], experts=names, sampling=SamplingParams(max_tokens=8)).token_ids
            for names in ([], ["x"])
        ]
    assert answers[0] != answers[1]


def test_by_the_command(source, tmp_path):
    command = [sys.executable, "-m", "xpm.cli.main", "build", "base", str(source), "--name", "tiny-gpt", "--json"]
    done = subprocess.run(
        [*command, "--exporter", "optimum", "--out", "dist"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [each["variant"] for each in json.loads(done.stdout)] == ["source", "fp32"]
