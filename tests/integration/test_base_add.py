"""`xpm base add` of a model: a GGUF file, a folder, one on a hub. Made here, locked by how it was
made, made again elsewhere."""

import shutil
import sys

import pytest

from tests.support.hub_server import serve_model
from tests.support.projects import new_project
from xpm.errors import FetchError, MissingExtraError, NotFoundError, UsageError
from xpm.lockfile import Made
from xpm.operations import install as operations
from xpm.operations.installed import installed
from xpm.operations.models import find_model, name_of
from xpm.operations.options import Options
from xpm.operations.parts import part_of
from xpm.operations.verify import verify
from xpm.sources import FromModel
from xpm_build.errors import BuildError, ParityError
from xpm_index.errors import IntegrityError
from xpm_runtime import Engine


@pytest.fixture
def environment(tmp_path, tiny_models):
    made = new_project(tmp_path)
    shutil.copytree(tiny_models, made.folder / "models")
    return made


def elsewhere(environment, tmp_path):
    """The same project on another machine, which has nothing in its store."""
    (tmp_path / "other").mkdir()
    other = new_project(tmp_path / "other")
    shutil.copytree(environment.folder, other.folder, dirs_exist_ok=True)
    return other


def add(environment, text, **options):
    source = find_model(text, folder=environment.folder, cwd=environment.folder)
    return operations.use_model(environment, source, variant="int4", **options)


@pytest.mark.parametrize(
    ("text", "name"), [("models/tiny-Q4_1.gguf", "tiny-q4-1"), ("./models/Tiny.Llama", "tiny-llama")]
)
def test_a_model_here(text, name, environment):
    change = add(environment, text)
    base = change.lock.base
    assert (base.name, base.kind, change.lock.variant) == (name, "base", "int4")
    assert isinstance(base.origin, Made)
    assert environment.project().base_source == FromModel(model=text.removeprefix("./"))
    assert str(environment.folder) not in (environment.folder / "xpm.lock").read_text()
    with Engine.load(part_of(installed(environment)[0]).folder, device="cpu", threads=1, max_lanes=1) as engine:
        assert engine.graph.base_digest == change.lock.base_digest
        assert engine.logits([1, 2, 3]).shape == (3, 320)
    assert verify(environment).verified == (f"{name} 0.1.0",)
    assert add(environment, text).is_nothing, "the same model gives the same bytes"


def test_it_is_made_again_elsewhere(environment, tmp_path):
    add(environment, "models/tiny-Q4_1.gguf")
    other = elsewhere(environment, tmp_path)
    lock = (other.folder / "xpm.lock").read_bytes()
    assert operations.sync(other, locked=True).fetched == ("tiny-q4-1 0.1.0",)
    assert (other.folder / "xpm.lock").read_bytes() == lock
    assert operations.sync(other, frozen=True).is_nothing


def test_another_model_is_refused_elsewhere(environment, tmp_path):
    add(environment, "models/tiny-Q4_1.gguf")
    other = elsewhere(environment, tmp_path)
    path = other.folder / "models" / "tiny-Q4_1.gguf"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(IntegrityError, match="is not the model that is locked"):
        operations.sync(other, frozen=True)
    path.unlink()
    with pytest.raises(NotFoundError, match="there is no"):
        operations.sync(other, frozen=True)
    assert other.store.digests() == []


def test_bytes_that_come_out_otherwise_are_refused(environment, tmp_path):
    add(environment, "models/tiny-Q4_1.gguf")
    other = elsewhere(environment, tmp_path)
    path = other.folder / "xpm.lock"
    digest = environment.lockfile().base.archives[0].digest
    path.write_text(path.read_text().replace(digest, "sha256:" + "0" * 64))
    with pytest.raises(IntegrityError, match="came out otherwise than it is locked"):
        operations.sync(other, frozen=True)
    assert other.store.digests() == []


def test_what_was_altered_in_the_store_is_made_again(environment):
    lock = add(environment, "models/tiny-Q4_1.gguf").lock
    path = environment.store.get(lock.base.archives[0].digest) / "graph.json"
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(IntegrityError, match="came out otherwise"):
        verify(environment)
    assert verify(environment, repair=True).repaired == ("tiny-q4-1 0.1.0",)
    assert verify(environment).repaired == ()


def test_a_dry_run_changes_nothing(environment):
    before = (environment.folder / "xpm.toml").read_bytes()
    change = add(environment, "models/tiny-Q4_1.gguf", options=Options(dry_run=True))
    assert "tiny-q4-1" in change.base or change.fetched
    assert (environment.folder / "xpm.toml").read_bytes() == before
    assert environment.store.digests() == []


def test_from_a_hub_gone_on_with_where_it_stopped(environment, tiny_models, monkeypatch):
    with serve_model("Acme/Tiny.Llama", tiny_models / "Tiny.Llama", cuts=[50_000]) as (endpoint, asked):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        lock = add(environment, "Acme/Tiny.Llama").lock
        assert any(" from 50000" in each for each in asked)
        assert isinstance(lock.base.origin, Made)
        assert len(lock.base.origin.revision) == 40
        assert environment.project().base_source == FromModel(model="hf:Acme/Tiny.Llama")
        assert list(environment.home.downloads.rglob("*.safetensors")) == []
        assert lock.base_digest == add(environment, "models/Tiny.Llama").lock.base_digest
        with pytest.raises(FetchError, match="--offline"):
            add(environment, "hf:Acme/Tiny.Llama@main", options=Options(offline=True))


def test_one_file_of_a_hub(environment, tiny_models, monkeypatch):
    with serve_model("acme/tiny-gguf", tiny_models) as (endpoint, _):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(FetchError, match="has nothing that a base is made of") as caught:
            add(environment, "hf:acme/tiny-gguf")
        assert "#FILE.gguf" in caught.value.hint
        lock = add(environment, "hf:acme/tiny-gguf@main#tiny-Q4_1.gguf").lock
        assert lock.base.name == "tiny-q4-1"
        assert lock.base_digest == add(environment, "models/tiny-Q4_1.gguf").lock.base_digest


@pytest.mark.parametrize(
    ("text", "variant"),
    [("models/tiny-Q4_1.gguf", "int4"), ("./models/Tiny.Llama", "fp32"), ("./models/Tiny.Llama", "int8")],
)
def test_it_is_compared_with_transformers(text, variant, environment):
    source = find_model(text, folder=environment.folder, cwd=environment.folder)
    said = []
    lock = operations.use_model(environment, source, variant=variant, checked=said.append).lock
    assert lock.variant == variant
    [line] = said
    assert "beside Transformers with the model: KL 0.0" in line


def test_what_does_not_compare_is_not_stored(environment, monkeypatch):
    source = find_model("./models/Tiny.Llama", folder=environment.folder, cwd=environment.folder)
    monkeypatch.setattr("xpm_build.base.parity._MAX_LOSS", {"int4": 0.0})
    with pytest.raises(ParityError, match="the int4 graph predicts otherwise"):
        operations.use_model(environment, source, variant="int4", checked=print)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="needs the build extra") as caught:
        operations.use_model(environment, source, variant="int4", checked=print)
    assert "torch" in caught.value.context
    assert "xpm-experts[build]" in caught.value.hint
    assert environment.store.digests() == []


def test_what_is_no_model(environment, tmp_path):
    for text in ("models/none.gguf", "./models", "hf:nobody", "hf:a/b@../c"):
        with pytest.raises(UsageError):
            find_model(text, folder=environment.folder, cwd=environment.folder)
    for text in ("xpm-tiny", "xpm-tiny@^1", "acme/expert-sql", "qwen3-0-6b@^1"):
        assert find_model(text, folder=environment.folder, cwd=environment.folder) is None
    assert name_of(FromModel(model="hf:Qwen/Qwen3-0.6B@main")) == "qwen3-0-6b"
    (environment.folder / "models" / "bad.gguf").write_bytes(b"GGUF")
    before = (environment.folder / "xpm.toml").read_bytes()
    with pytest.raises(BuildError, match="is not a GGUF file"):
        add(environment, "models/bad.gguf")
    assert (environment.folder / "xpm.toml").read_bytes() == before
