"""Fusing experts: what the fused one computes, what it says of itself, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from tests.support import models
from xpm_build.adapter.fuse import FuseOptions, Part, fuse
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.errors import BuildError
from xpm_build.packages import build_expert
from xpm_index.archive import extract_archive
from xpm_runtime import AdapterSpec


@pytest.fixture(scope="module")
def base(tiny_base):
    model = models.load(tiny_base.source)
    return adaptable(model), base_digest(model)


@pytest.fixture
def part(tiny_adapter, tmp_path):
    """``part(name, kind, seed)``: an expert's folder with a random adapter."""

    def make(name, kind="lora", seed=1, scale=1.0, **manifest):
        folder = tmp_path / name
        shutil.copytree(tiny_adapter(kind, seed).peft, folder)
        document = {
            "schema_version": "2.0",
            "name": name,
            "version": "1.2.0",
            "license": "MIT",
            "base_models": [{"name": "tiny"}],
            **manifest,
        }
        (folder / "manifest.json").write_text(json.dumps(document))
        return Part(folder=folder, scale=scale)

    return make


def test_it_computes_what_its_parts_do_together(part, base, tiny_base, tiny_engine, tiny_adapter, tmp_path):
    parts = [part("expert-b", "rslora", 2, scale=0.5), part("expert-a", "partial", 1), part("expert-c", "adalora", 3)]
    found = fuse(parts, tmp_path / "fused", *base, FuseOptions(version="2.0.0"))
    assert found.name == "expert-a-b-c"
    assert found.ranks == (4, 8, 6)
    assert found.rank <= sum(found.ranks)
    assert max(found.errors.values()) < 1e-6
    built = build_expert(found.folder, tmp_path / "dist", base=tiny_base.source)  # which compares it with PEFT
    (tmp_path / "package").mkdir()
    extract_archive(built.path, tmp_path / "package")
    tiny_engine.attach(AdapterSpec.read("fused", tmp_path / "package"))
    for name, kind, seed in (("a", "partial", 1), ("b", "rslora", 2), ("c", "adalora", 3)):
        tiny_engine.attach(AdapterSpec.read(name, tiny_adapter(kind, seed).slots))
    tokens = list(range(5, 25))
    wanted = tiny_engine.logits(tokens, experts=["a", "b", "c"], scales=[1.0, 0.5, 1.0])
    got = tiny_engine.logits(tokens, experts=["fused"])
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
    other = tiny_engine.logits(tokens, experts=["a", "b", "c"])
    assert np.abs(other - wanted).max() > 1e-2 * np.abs(wanted).max(), "the scale changes what is computed"


def test_the_order_of_parts_changes_no_byte(part, base, tmp_path):
    parts = [part("expert-a", seed=1), part("expert-b", seed=2, scale=0.7)]
    for name, given in (("one", parts), ("other", parts[::-1])):
        fuse(given, tmp_path / name, *base, FuseOptions(error=0.2))
    for file in ("adapter_model.safetensors", "adapter_config.json", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_rank_and_error(part, base, tmp_path):
    parts = [part("expert-a", seed=1), part("expert-b", seed=2)]
    exact = fuse(parts, tmp_path / "exact", *base, FuseOptions())
    assert exact.rank == 16
    rough = fuse(parts, tmp_path / "rough", *base, FuseOptions(error=0.5))
    assert 1 <= rough.rank < 16
    assert max(rough.errors.values()) <= 0.5
    least = fuse(parts, tmp_path / "least", *base, FuseOptions(rank=rough.rank - 1))
    assert max(least.errors.values()) > 0.5, "a rank less would not have kept the error"
    assert json.loads((tmp_path / "least/adapter_config.json").read_text())["r"] == rough.rank - 1
    assert fuse(parts, tmp_path / "more", *base, FuseOptions(rank=200)).rank == 16


def test_what_it_says_of_itself(part, base, tmp_path):
    one = part(
        "expert-a",
        license="MIT OR Apache-2.0",
        capabilities=["sql"],
        routing={"keywords": ["sql"], "exclude_keywords": ["json", "rust"]},
        constraints={"requires": ["expert-b@^1.0", "expert-z"]},
        decoding={"max_tokens": 10, "temperature": 0.0, "use_grammar": True, "grammar_type": "sql"},
        limitations=["no joins"],
    )
    other = part(
        "expert-b",
        seed=2,
        capabilities=["json"],
        routing={"keywords": ["json"], "exclude_keywords": ["rust"]},
        decoding={"max_tokens": 20, "temperature": 0.0},
    )
    packaged = Part(folder=other.folder, package="sha256:" + "0" * 64)
    found = fuse([one, packaged], tmp_path / "fused", *base, FuseOptions(error=0.3))
    told = json.loads((found.folder / "manifest.json").read_text())
    assert told["license"] == "(MIT OR Apache-2.0) AND MIT"
    assert told["capabilities"] == ["sql", "json"]
    assert told["routing"] == {"keywords": ["sql", "json"], "exclude_keywords": ["rust"]}
    assert told["constraints"] == {"requires": ["expert-z"]}
    assert told["decoding"] == {"max_tokens": 20, "temperature": 0.0}
    assert told["limitations"] == ["expert-a: no joins"]
    assert told["base_models"][0]["sha256"] == base[1].removeprefix("sha256:")
    fusion = told["fusion"]
    assert [(each["name"], each["version"], each.get("package")) for each in fusion["parts"]] == [
        ("expert-a", "1.2.0", None),
        ("expert-b", "1.2.0", "sha256:" + "0" * 64),
    ]
    assert all(len(each["weights"][0]) == len("sha256:") + 64 for each in fusion["parts"])
    assert fusion["rank"] == found.rank
    assert fusion["asked"] == {"error": 0.3}
    assert len(fusion["errors"]) == 14
    assert fusion["largest_error"] == max(fusion["errors"].values()) <= 0.3
    unlicensed = part("expert-c", seed=3, license="")
    fuse([one, unlicensed], tmp_path / "second", *base, FuseOptions())
    assert "license" not in json.loads((tmp_path / "second/manifest.json").read_text())


@pytest.mark.parametrize(
    ("kind", "message"),
    [("dora", "scales the base's outputs"), ("ia3", "scales the base's outputs"), ("prompt", "has virtual tokens")],
)
def test_what_is_no_sum_of_low_rank_is_refused(part, base, kind, message, tmp_path):
    with pytest.raises(BuildError, match=f"expert-b cannot be fused: it {message}"):
        fuse([part("expert-a"), part("expert-b", kind)], tmp_path / "fused", *base, FuseOptions())
    assert not (tmp_path / "fused").exists()


def test_what_acts_from_its_invocation_on_is_refused(part, base, tmp_path):
    invoked = part("expert-b")
    path = invoked.folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alora_invocation_tokens": [7, 8]}))
    with pytest.raises(BuildError, match="expert-b cannot be fused: it acts from its invocation on"):
        fuse([part("expert-a"), invoked], tmp_path / "fused", *base, FuseOptions())
    assert not (tmp_path / "fused").exists()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"base_models": [{"name": "other"}]}, {}, "different bases"),
        ({"base_models": [{"name": "tiny", "sha256": "0" * 64}]}, {}, "other weights"),
        ({"name": "expert-a"}, {}, "the same name"),
        ({"scale": 0.0}, {}, "the scale of expert-b is 0"),
        ({"scale": float("nan")}, {}, "the scale of expert-b is nan"),
        ({"scale": 101.0}, {}, "the scale of expert-b is 101"),
        ({}, {"rank": 0}, r"1\.\.256"),
        ({}, {"rank": 257}, r"1\.\.256"),
        ({}, {"error": 1.0}, "makes no sense"),
        ({}, {"error": float("nan")}, "makes no sense"),
        ({}, {"name": "No Name"}, "expert name"),
    ],
)
def test_what_is_refused_leaves_nothing(part, base, change, options, message, tmp_path):
    scale, stated = change.pop("scale", 1.0), dict(change)
    other = part("expert-b", scale=scale)
    manifest = json.loads((other.folder / "manifest.json").read_text())
    (other.folder / "manifest.json").write_text(json.dumps({**manifest, **stated}))
    with pytest.raises(Exception, match=message) as caught:
        fuse([part("expert-a"), other], tmp_path / "fused", *base, FuseOptions(**options))
    assert type(caught.value).__module__.startswith("xpm")
    assert not (tmp_path / "fused").exists()


def test_bounds_of_how_many_and_where(part, base, tmp_path):
    parts = [part(f"expert-{letter}", "partial") for letter in "abcdefghijk"]
    for given in (parts[:1], parts):
        with pytest.raises(BuildError, match="2 to 10 experts"):
            fuse(given, tmp_path / "fused", *base, FuseOptions())
    (tmp_path / "there").mkdir()
    with pytest.raises(BuildError, match="is there already"):
        fuse(parts[:2], tmp_path / "there", *base, FuseOptions())


def test_an_error_whose_rank_does_not_fit_is_refused(part, base, tmp_path, monkeypatch):
    monkeypatch.setattr("xpm_build.adapter.fuse.MAX_RANK", 12)
    parts = [part("expert-a", seed=1), part("expert-b", seed=2)]
    with pytest.raises(BuildError, match="takes rank 16") as caught:
        fuse(parts, tmp_path / "fused", *base, FuseOptions())
    assert "at most 12 fit" in caught.value.context
    assert fuse(parts, tmp_path / "fused", *base, FuseOptions(rank=12)).rank == 12


def test_layers_that_no_part_adapts_are_not_named(part, base, tiny_base, tmp_path):
    parts = [part("expert-a", "some-layers", 1), part("expert-b", "some-layers", 2)]
    found = fuse(parts, tmp_path / "fused", *base, FuseOptions())
    targets = json.loads((found.folder / "adapter_config.json").read_text())["target_modules"]
    assert targets
    assert all(each.startswith("model.layers.1.") for each in targets)
    build_expert(found.folder, tmp_path / "dist", base=tiny_base.source)
