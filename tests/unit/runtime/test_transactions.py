"""One request's error is its own: it ends that request, and everybody else gets what they would have got alone."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.support import models
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, Engine, EngineError, Request, SamplingParams

PROMPTS = [probe_tokens(models.VOCAB_SIZE, seed=seed, count=9) for seed in range(3)]
SAMPLING = SamplingParams(max_tokens=8)


@pytest.fixture
def alone(tiny_engine):
    return [tiny_engine.generate(prompt, sampling=SAMPLING).token_ids for prompt in PROMPTS]


def requests(*, bad: SamplingParams = SAMPLING) -> list[Request]:
    return [Request(prompt=PROMPTS[0], sampling=SAMPLING), Request(prompt=PROMPTS[1], sampling=bad)]


@pytest.mark.parametrize("settings", [{"temperature": 1e-310}, {"temperature": 0.5, "repetition_penalty": 1e-40}])
def test_settings_at_the_edge_of_numbers_disturb_nobody(settings, tiny_engine, alone):
    good, odd = tiny_engine.generate_batch(requests(bad=SamplingParams(max_tokens=8, seed=1, **settings)))
    assert good.token_ids == alone[0]
    assert odd.finish_reason in ("length", "stop")
    assert tiny_engine.violations() == []


@pytest.mark.parametrize("when", ["prefill", "decode"])
@pytest.mark.parametrize("error", [ValueError("no such token"), EngineError("unlucky", context="twice")])
def test_a_sampler_that_fails_ends_its_request(when, error, tiny_engine, alone, monkeypatch):
    drawn = SamplingParams(temperature=1.0, seed=1, max_tokens=8)  # with this seed the text does not end by itself
    good, bad = (tiny_engine.submit(request) for request in requests(bad=drawn))
    choose, calls = type(bad.sampler).choose, []

    def fail(self, *arguments):
        calls.append(1)
        if self is bad.sampler and (when == "prefill" or len(calls) > 2):
            raise error
        return choose(self, *arguments)

    monkeypatch.setattr(type(bad.sampler), "choose", fail)
    while not (good.is_finished and bad.is_finished):
        tiny_engine.step()
        assert tiny_engine.violations() == []
    assert tuple(good.token_ids) == alone[0]
    result = bad.result()
    assert result.finish_reason == "error"
    assert str(error).split(":")[0] in result.error
    assert len(result.token_ids) == (0 if when == "prefill" else 2)
    assert tiny_engine.generate(PROMPTS[2], sampling=SAMPLING).token_ids == alone[2]


@pytest.mark.parametrize("run", ["prefill", "decode"])
def test_a_run_that_fails_ends_those_in_it_and_frees_their_lanes(run, tiny_engine, alone, monkeypatch):
    sequences = [tiny_engine.submit(request) for request in requests()]
    if run == "decode":
        tiny_engine.step()
    with monkeypatch.context() as broken:

        def fail(*args, **kwargs):
            raise EngineError("the graph could not be run")

        broken.setattr(tiny_engine._runner, run, fail)
        tiny_engine.step()
    assert [sequence.finish_reason for sequence in sequences] == ["error", "error"]
    assert tiny_engine._scheduler.is_idle
    assert tiny_engine.generate(PROMPTS[0], sampling=SAMPLING).token_ids == alone[0]


def test_text_that_can_not_be_made_ends_its_request(tiny_engine, alone, monkeypatch):
    good, bad = (tiny_engine.submit(request) for request in requests())

    def fail(token):
        raise RuntimeError("Invalid prefix encountered")

    monkeypatch.setattr(bad.text, "append", fail)
    while not good.is_finished:
        tiny_engine.step()
    assert tuple(good.token_ids) == alone[0]
    assert (bad.finish_reason, bad.token_ids) == ("error", [])


def test_an_interruption_while_drawing_leaves_nothing_half_done(tiny_engine, alone, monkeypatch):
    good, bad = (tiny_engine.submit(request) for request in requests())
    with monkeypatch.context() as patched:

        def interrupt(token):
            raise KeyboardInterrupt

        patched.setattr(bad.text, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tiny_engine.step()
    assert tiny_engine.violations() == []
    while not (good.is_finished and bad.is_finished):
        tiny_engine.step()
    assert [tuple(good.token_ids), tuple(bad.token_ids)] == alone[:2]


def test_half_committed_sequences_are_a_violation(tiny_engine):
    sequence = tiny_engine.submit(requests()[0])
    tiny_engine.step()
    sequence.token_ids.clear()
    assert any("has no token" in found for found in tiny_engine.violations())


def altered(adapter, folder, change):
    """A copy of a compiled adapter with other numbers."""
    tensors = {name: change(name, tensor) for name, tensor in load_file(adapter.slots).items()}
    with safe_open(adapter.slots, "np") as file:
        save_file(tensors, folder / "slots.safetensors", metadata=file.metadata())
    return folder / "slots.safetensors"


def test_an_adapter_that_overflows_does_not_reach_its_neighbour(tiny_engine, tiny_adapter, tmp_path, alone):
    """Its own row fails; by 0 · inf the other's would too."""

    def raise_a(name, tensor):
        return np.full_like(tensor, 9e8) if name.endswith((".A", ".B")) else tensor

    path = altered(tiny_adapter("lora"), tmp_path, raise_a)
    tiny_engine.attach(AdapterSpec.read("wild", path))
    rows = [*requests(), Request(prompt=PROMPTS[2], experts=("wild",), sampling=SAMPLING)]
    *good, wild = tiny_engine.generate_batch(rows)
    assert [result.token_ids for result in good] == alone[:2]
    assert wild.finish_reason in ("error", "length", "stop")


def test_rows_are_told_apart_by_selection(tiny_base):
    """What a rank of another row's adapter gives is left out, whatever it is, and not multiplied by zero."""
    import onnx

    model = onnx.load(tiny_base.graph / "model.onnx", load_external_data=False)
    kinds = {node.op_type for node in model.graph.node if "gate_rank" in node.input}
    assert kinds == {"Where"}
    kind = next(each.type.tensor_type.elem_type for each in model.graph.input if each.name == "gate_rank")
    assert kind == onnx.TensorProto.BOOL


def test_values_that_no_training_ends_with_are_refused(tiny_engine, tiny_adapter, tmp_path):
    path = altered(tiny_adapter("lora"), tmp_path, lambda name, tensor: np.full_like(tensor, 3e38))
    with pytest.raises(EngineError, match=r"beyond 1e\+09"):
        tiny_engine.attach(AdapterSpec.read("huge", path))
    assert tiny_engine.attached == ()


def test_scales_that_come_to_infinity_together_end_their_own_request(tiny_engine, tiny_adapter, tmp_path, alone):
    names = []
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = altered(tiny_adapter("ia3"), folder, lambda name, tensor: np.full_like(tensor, 9e8))
        names.append(tiny_engine.attach(AdapterSpec.read(f"wild-{number}", path)).name)
    good, wild = tiny_engine.generate_batch(
        [requests()[0], Request(prompt=PROMPTS[1], experts=tuple(names), sampling=SAMPLING)]
    )
    assert good.token_ids == alone[0]
    assert wild.finish_reason == "error"
    assert "together scale outputs beyond float32" in wild.error


def test_an_older_base_is_still_read(tiny_base, tiny_adapter, tmp_path, alone):
    """Format 1 told rows apart by multiplying with 0 and 1 in its float type."""
    import json
    import shutil

    import onnx

    folder = shutil.copytree(tiny_base.graph, tmp_path / "old")
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "Where" and node.input[0] == "gate_rank":
            reduced = node.input[1]
            node.op_type = "Mul"
            del node.input[:]
            node.input.extend([reduced, "gate_rank"])
    for each in [*model.graph.input]:
        if each.name == "gate_rank":
            each.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for each in [*model.graph.initializer]:
        if each.name == "gate_rank":
            each.CopyFrom(onnx.helper.make_tensor("gate_rank", onnx.TensorProto.FLOAT, (1, 1, 0), []))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    document = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(json.dumps({**document, "format": "xpm-slot-graph-1"}))
    adapter = tiny_adapter("lora")
    with (
        Engine.load(folder, device="cpu", threads=1) as old,
        Engine.load(tiny_base.graph, device="cpu", threads=1) as new,
    ):
        for engine in (old, new):
            engine.attach(AdapterSpec.read("one", adapter.slots))
        rows = [
            Request(prompt=PROMPTS[0], sampling=SAMPLING),
            Request(prompt=PROMPTS[1], experts=("one",), sampling=SAMPLING),
        ]
        assert [r.token_ids for r in old.generate_batch(rows)] == [r.token_ids for r in new.generate_batch(rows)]
