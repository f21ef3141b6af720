"""The stranger's path, as the README has it: from a PEFT folder to an answer in somebody else's project."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel, get_peft_model

from tests.support import models
from tests.support.git_http import serve_git
from tests.support.user import User
from xpm_build.base.parity import load_model, probe_tokens, reference_logits

MANIFEST = {
    "schema_version": "2.0",
    "name": "expert-noise",
    "version": "1.0.0",
    "description": "Random weights",
    "license": "Apache-2.0",
    "base_models": [{"name": "xpm-tiny"}],
    "routing": {"keywords": ["noise"]},
}


@dataclass(frozen=True, slots=True)
class Published:
    """What a publisher's work left: the index repositories, the index's fingerprint, the PEFT
    folder, the base's folder."""

    indexes: Path
    fingerprint: str
    expert: Path
    base: Path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    publisher = User(tmp_path_factory.mktemp("publisher"))
    public = publisher.xpm("key", "new", "acme").strip()
    assert public.startswith("ed25519:")
    base = Path(publisher.xpm("base", "path", "xpm-tiny").strip())
    expert = publisher.folder / "expert-noise"
    model = get_peft_model(load_model(base), models.lora(use_dora=True))
    models.randomise(model, seed=4)
    model.save_pretrained(expert)
    (expert / "manifest.json").write_text(json.dumps(MANIFEST))
    publisher.xpm("build", "expert", expert, "--base", "xpm-tiny")
    publisher.xpm("build", "expert", expert, "--base", "xpm-tiny", "--in-place")
    publisher.xpm("init")
    publisher.xpm("install", "--editable", "./expert-noise")
    assert json.loads(publisher.xpm("run", "make noise", "--max-tokens", 4, "--json"))["experts"] == ["expert-noise"]
    archive = "dist/expert-noise-xpm-tiny.v1.0.0.expert"
    assert "not signed" in publisher.xpm("verify", archive, "--key", public, fails=5)
    publisher.xpm("sign", archive, "--key", "acme")
    checked = json.loads(publisher.xpm("verify", archive, "--key", public, "--json"))
    assert checked["provenance"]["expert-noise 1.0.0 by acme"]["parameters"]["base"] == "xpm-tiny"
    fingerprint = publisher.xpm("index", "init", "indexes/acme.git", "--name", "acme").strip()
    assert "add-publisher" in publisher.xpm("publish", archive, "--index", "indexes/acme.git", fails=5)
    publisher.xpm("index", "add-publisher", "acme", "--index", "indexes/acme.git", "--publisher-key", "acme")
    publisher.xpm("publish", archive, "--index", "indexes/acme.git")
    assert "published already" in publisher.xpm("publish", archive, "--index", "indexes/acme.git", fails=12)
    return Published(publisher.folder / "indexes", fingerprint, expert, base)


@pytest.mark.parametrize("transport", ["file", "http"])
def test_install_and_run_in_another_home(transport, published, tmp_path):
    with serve_git(published.indexes) as server:
        url = f"file://{published.indexes}/acme.git" if transport == "file" else f"{server.url}/acme.git"
        user = User(tmp_path / "user")
        user.xpm("init")
        assert published.fingerprint in user.xpm("index", "add", "acme", url, fails=5)
        user.xpm("index", "add", "acme", url, "--fingerprint", published.fingerprint)
        user.xpm("install", "noise")
    listed = {each["name"]: each for each in json.loads(user.xpm("list", "--json"))}
    assert listed["expert-noise"] == {
        "name": "expert-noise",
        "version": "1.0.0",
        "kind": "expert",
        "publisher": "acme",
        "index": "acme",
        "signed": True,
        "yanked": None,
    }
    told = json.loads(user.xpm("verify", "--json"))["provenance"]
    assert list(told) == ["expert-noise 1.0.0"]
    assert json.loads(user.xpm("info", "noise", "--json"))["provenance"] == told["expert-noise 1.0.0"]
    assert "built by xpm" in user.xpm("info", "noise")
    answer = json.loads(user.xpm("run", "make noise", "--max-tokens", 8, "--json"))
    assert answer["experts"] == ["expert-noise"]
    assert 1 <= answer["num_tokens"] <= 8
    alone = json.loads(user.xpm("run", "make noise", "--max-tokens", 8, "--no-expert", "--json"))
    assert alone["experts"] == []
    assert alone["text"] != answer["text"]
    _assert_logits_equal_peft(user, published.expert, published.base)


def _assert_logits_equal_peft(user: User, expert: Path, base: Path) -> None:
    """What was installed computes what PEFT computes from the publisher's folder, within 1e-3 in float32."""
    from xpm.environment import Environment
    from xpm.home import Home
    from xpm.operations.installed import installed
    from xpm_runtime import AdapterSpec, Engine

    packages = installed(Environment.find(Home(Path(user.environment["XPM_HOME"])), user.folder))
    folders = {each.package.name: each.folder for each in packages}
    model = load_model(base)
    tokens = probe_tokens(model.config.vocab_size, seed=9)
    wanted = reference_logits(PeftModel.from_pretrained(model, str(expert)).eval(), tokens)
    with Engine.load(folders["xpm-tiny"], device="cpu", threads=1) as engine:
        engine.attach(AdapterSpec.read("noise", folders["expert-noise"]))
        assert np.abs(engine.logits(tokens, experts=["noise"]) - wanted).max() < 1e-3


def test_a_locked_project_is_the_same_elsewhere(published, tmp_path):
    first, second = User(tmp_path / "first"), User(tmp_path / "second")
    first.xpm("init")
    url = f"file://{published.indexes}/acme.git"
    first.xpm("index", "add", "acme", url, "--fingerprint", published.fingerprint)
    first.xpm("install", "expert-noise@^1", "expert-sql")
    for name in ("xpm.toml", "xpm.lock"):
        (second.folder / name).write_bytes((first.folder / name).read_bytes())
    second.xpm("sync", "--locked")
    assert second.xpm("list", "--json") == first.xpm("list", "--json")
    assert (second.folder / "xpm.lock").read_bytes() == (first.folder / "xpm.lock").read_bytes()
    second.xpm("sync", "--frozen", "--offline")
