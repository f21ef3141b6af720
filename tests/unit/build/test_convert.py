"""Adapters in other forms: PEFT's folder, a package, an older package, and back; and what an expert may consist of."""

import io
import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tests.support import models
from xpm_build.adapter.compile import FROZEN_SEED, compile_adapter, compile_adapters, frozen_a
from xpm_build.adapter.convert import convert
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.architecture import Architecture, Linear, tensor_name
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_build.packages import build_expert
from xpm_index.archive import extract_archive, read_files, read_manifest
from xpm_runtime import AdapterSpec, Engine

TOKENS = probe_tokens(models.VOCAB_SIZE, seed=3, count=12)


def _expert_folder(folder, adapters, **manifest):
    """An expert's folder of PEFT adapters: one in its root, several in folders of their own."""
    entries = []
    for number, (kind, peft) in enumerate(adapters):
        place = folder / f"part-{number}" if len(adapters) > 1 else folder
        shutil.copytree(peft, place, dirs_exist_ok=True)
        entries.append({"type": kind, "path": str((place / ADAPTER_WEIGHTS).relative_to(folder))})
    document = {
        "schema_version": "2.0",
        "name": "expert-x",
        "version": "0.1.0",
        "description": "x",
        "base_models": [{"name": "tiny", "adapters": entries}],
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def _peft_logits(source, folder):
    return reference_logits(PeftModel.from_pretrained(models.load(source), str(folder)).eval(), TOKENS)


def _expert_logits(base, package, scratch):
    extract_archive(package, scratch)
    with Engine.load(base, device="cpu", threads=1) as engine:
        engine.attach(AdapterSpec.read("x", scratch))
        return engine.logits(TOKENS, experts=["x"])


@pytest.mark.parametrize("kind", ["dora", "ia3", "lokr"])
def test_there_and_back(kind, tiny_base, tiny_adapter, tmp_path):
    """PEFT's folder → an expert's folder → a package → PEFT's folder, which PEFT loads to the same logits."""
    peft = tiny_adapter(kind).peft
    assert convert(peft, tmp_path / "expert-x", to="expert", base="tiny") == sorted(
        ["README.md", ADAPTER_CONFIG, ADAPTER_WEIGHTS, "manifest.json"]
    )
    built = build_expert(tmp_path / "expert-x", tmp_path / "dist", base=tiny_base.source)
    convert(built.path, tmp_path / "back", to="peft")
    assert np.array_equal(_peft_logits(tiny_base.source, tmp_path / "back"), _peft_logits(tiny_base.source, peft))
    (tmp_path / "unpacked").mkdir()
    got = _expert_logits(tiny_base.graph, built.path, tmp_path / "unpacked")
    assert np.abs(got - _peft_logits(tiny_base.source, peft)).max() < 1e-4


def test_an_older_package(tiny_adapter, tmp_path):
    """A tar.gz with weights of another name and a pickle beside them, which is left behind."""
    peft = tiny_adapter("lora").peft
    manifest = {
        "name": "expert-old",
        "version": "0.3.0",
        "schema_version": "1.0",
        "base_model": {"name": "F:/models/Tiny"},
    }
    members = {
        "manifest.json": json.dumps(
            {**manifest, "adapters": [{"type": "lora", "path": "weights.safetensors"}]}
        ).encode(),
        "adapter_config.json": (peft / ADAPTER_CONFIG).read_bytes(),
        "training_args.bin": b"\x80\x04.",
        "weights.safetensors": (peft / ADAPTER_WEIGHTS).read_bytes(),
    }
    package = tmp_path / "expert-old.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    written = convert(package, tmp_path / "expert-old", to="expert")
    assert written == [ADAPTER_CONFIG, ADAPTER_WEIGHTS, "manifest.json"]
    assert json.loads((tmp_path / "expert-old" / "manifest.json").read_text())["version"] == "0.3.0"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: (folder / "out").mkdir(), "is there already"),
        (lambda folder: (folder / "source" / ADAPTER_CONFIG).unlink(), "holds no adapter"),
    ],
)
def test_what_can_not_be_converted(prepare, message, tiny_adapter, tmp_path):
    shutil.copytree(tiny_adapter("lora").peft, tmp_path / "source")
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BuildError, match=message):
        convert(tmp_path / "source", tmp_path / "out", to="peft")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("storage", "error"), [("float32", 1e-4), ("float16", 5e-3), ("int8", 5e-2)])
def test_storages(storage, error, tiny_base, tiny_adapter, tmp_path):
    adapter = tiny_adapter("dora")
    folder = _expert_folder(tmp_path / "x", [("dora", adapter.peft)])
    built = build_expert(folder, tmp_path / "dist", base=tiny_base.source, storage=storage)
    build = read_manifest(built.path).raw["build"]
    assert build.get("storage", "float32") == storage
    assert built.max_logit_error < error * 3
    assert build["max_logit_error"] >= built.max_logit_error
    (tmp_path / "unpacked").mkdir()
    got = _expert_logits(tiny_base.graph, built.path, tmp_path / "unpacked")
    assert np.abs(got - _peft_logits(tiny_base.source, adapter.peft)).max() < error * 3
    sizes = {"float32": 1.0, "float16": 0.55, "int8": 0.35}
    slots = len(read_files(built.path)["slots.safetensors"])
    assert slots < sizes[storage] * adapter.slots.stat().st_size + 20_000


def test_an_expert_of_several_adapters(tiny_base, tiny_adapter, tmp_path):
    """Ranks, scales and virtual tokens in one file do what a composition of the adapters does."""
    adapters = [tiny_adapter(kind) for kind in ("dora", "ia3", "prompt")]
    folder = _expert_folder(tmp_path / "x", [(each.name.partition("-")[0], each.peft) for each in adapters])
    built = build_expert(folder, tmp_path / "dist", base=tiny_base.source)
    stated = read_manifest(built.path).raw["base_models"][0]["adapters"]
    assert [entry["type"] for entry in stated] == ["dora", "ia3", "prompt"]
    assert {f"part-{n}/{ADAPTER_WEIGHTS}" for n in range(3)} <= set(read_files(built.path))
    (tmp_path / "unpacked").mkdir()
    got = _expert_logits(tiny_base.graph, built.path, tmp_path / "unpacked")
    with Engine.load(tiny_base.graph, device="cpu", threads=1) as engine:
        for place, each in enumerate(adapters, start=1):
            engine.attach(AdapterSpec.read(each.name, each.slots, load_order=place))
        wanted = engine.logits(TOKENS, experts=[each.name for each in adapters])
    assert np.abs(got - wanted).max() < 1e-5


def _without_a(peft, folder, *, seed):
    """A LoRA-FA adapter that keeps its seed instead of A, and the same with A."""
    model = models.load(peft[0])
    shutil.copytree(peft[1], folder / "whole")
    weights = load_file(folder / "whole" / ADAPTER_WEIGHTS)
    for number, linear in enumerate(Architecture(model.config).linears()):
        name = f"base_model.model.{tensor_name(linear).removesuffix('.weight')}.lora_A.weight"
        weights[name] = torch.from_numpy(frozen_a(linear, weights[name].shape[0], seed=seed, number=number))
    save_file(weights, folder / "whole" / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    shutil.copytree(folder / "whole", folder / "seeded")
    kept = {name: tensor for name, tensor in weights.items() if ".lora_A." not in name}
    save_file(kept, folder / "seeded" / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / "seeded" / ADAPTER_CONFIG).read_text())
    return model, config


@pytest.mark.parametrize(("seed", "number"), [(0, 0), (7, 3), (2**31, 5)])
def test_lora_fa_draws_what_torch_draws(seed, number):
    linear = Linear(name="0.q_proj", num_in=96, num_out=8, path="model.layers.0.self_attn.q_proj")
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    wanted = (2 * torch.rand(4, 96, generator=generator) - 1) * 96**-0.5
    assert np.array_equal(frozen_a(linear, 4, seed=seed, number=number), wanted.numpy())


def test_lora_fa_needs_its_seed_or_its_a(tiny_base, tiny_adapter, tmp_path):
    model, config = _without_a((tiny_base.source, tiny_adapter("lora").peft), tmp_path, seed=7)
    with pytest.raises(BuildError, match="holds no lora_A"):
        compile_adapter(tmp_path / "seeded", adaptable(model))
    (tmp_path / "seeded" / ADAPTER_CONFIG).write_text(json.dumps({**config, FROZEN_SEED: 7}))
    seeded, whole = (compile_adapter(tmp_path / name, adaptable(model)) for name in ("seeded", "whole"))
    assert all(np.array_equal(seeded.tensors[name], whole.tensors[name]) for name in whole.tensors)
    built = build_expert(
        _expert_folder(tmp_path / "x", [("lora-fa", tmp_path / "seeded")]), tmp_path / "dist", base=tiny_base.source
    )
    convert(built.path, tmp_path / "back", to="peft")
    got, wanted = (_peft_logits(tiny_base.source, tmp_path / name) for name in ("back", "whole"))
    assert np.array_equal(got, wanted), "PEFT needs A"


def test_a_lokr_of_too_high_a_rank_is_cut_and_says_so(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr("xpm_build.adapter.methods.MAX_RANK", 20)
    peft = models.save_adapter(tiny_base.source, tmp_path / "peft", models.CONFIGS["lokr"](), seed=1)
    adapter = compile_adapter(peft, adaptable(models.load(tiny_base.source)))
    assert adapter.rank == 20
    assert 0 < adapter.truncation < 1
    said = []
    folder = _expert_folder(tmp_path / "x", [("lokr", peft)])
    built = build_expert(folder, tmp_path / "dist", base=tiny_base.source, report=said.append)
    assert any("of an update is lost" in line for line in said)
    assert read_manifest(built.path).raw["build"]["truncation"] == round(adapter.truncation, 4)


def test_adapters_of_too_high_a_rank_together(tiny_base, tiny_adapter, monkeypatch):
    monkeypatch.setattr("xpm_build.adapter.methods.MAX_RANK", 12)
    with pytest.raises(BuildError, match="rank 16 together"):
        compile_adapters(
            [tiny_adapter("lora").peft, tiny_adapter("dora").peft], adaptable(models.load(tiny_base.source))
        )
