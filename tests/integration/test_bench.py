"""The benchmark itself, on the tiny base: it runs, takes turns, and writes what it says. Its figures are nobody's."""

import json
import subprocess
import sys

import pytest

from tests.support import models
from tests.support.gguf_files import write_gguf
from xpm.errors import UsageError
from xpm.operations import bench
from xpm_build.base.export import open_checkpoint

_QUICK = {"shape": "tiny", "rounds": 1, "prompt_tokens": 8, "decode_tokens": 8, "threads": 1, "report": str}


def _xpm(*arguments, cwd):
    command = [sys.executable, "-m", "xpm.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    options = ["--shape", "tiny", "--peer", "peft", "--rounds", 2, "--prompt-tokens", 16, "--decode-tokens", 8]
    done = _xpm("bench", "speed", *options, "--threads", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_it_measures_every_case_and_program(measured):
    folder, done = measured
    results = json.loads((folder / "bench" / "speed.json").read_text())
    assert list(results["measured"]) == ["base", "one LoRA r16", "ten LoRA r12"]
    for programs in results["measured"].values():
        ours = {"xpm int4/128", "xpm int4/128, drawing", "xpm int4/32", "xpm int4/128 portable"}
        assert set(programs) == {*ours, "Transformers + PEFT bf16"}
        for times in programs.values():
            assert len(times["prefill_ms"]) == 2
            assert all(ms > 0 for ms in times["decode_ms"])
    assert set(results["together"]) == {"xpm", "xpm portable"}
    assert "| base | xpm int4/128 |" in done.stdout == (folder / "bench" / "speed.md").read_text() + "\n"


def test_memory_beside_the_formula(measured):
    folder, _ = measured
    base = folder / ".bench" / "tiny" / "xpm-int4-128"
    done = _xpm("bench", "memory", base, "--tokens", 64, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["formula"]["total"] == sum(value for name, value in found["formula"].items() if name != "total")
    assert found["formula"]["cache"] > 0
    if found["real"]:
        assert found["real"]["Rss"] > found["formula"]["weights"]


def test_a_model_in_a_file(tmp_path, monkeypatch):
    """The file's own numbers run as int4/32; the programs that can't be had are left out."""
    monkeypatch.setattr("xpm_build.bench.speed.available_peers", list)
    source = models.save_tiny_model(tmp_path / "source", architecture="llama", vocab_size=320)
    write_gguf(source, tmp_path / "tiny.gguf", kind="Q4_1")
    bench.speed(tmp_path / ".bench", tmp_path / "bench", model=tmp_path / "tiny.gguf", peers=[], **_QUICK)
    results = json.loads((tmp_path / "bench" / "speed.json").read_text())
    assert results["model"] == "tiny, a real model, with random adapters"
    carried = open_checkpoint(tmp_path / "tiny.gguf").quantized("model.layers.0.mlp.up_proj.weight")
    kept = json.loads((tmp_path / ".bench" / "tiny" / "xpm-int4-32" / "graph.json").read_text())
    assert carried is not None
    assert kept["variant"] == "int4"


def test_a_peer_that_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("xpm_build.bench.speed.available_peers", lambda: ["peft"])
    with pytest.raises(UsageError, match=r"llama\.cpp is not installed"):
        bench.speed(tmp_path, tmp_path / "out", model=None, peers=["llama.cpp"], **_QUICK)
