"""`xpm install` of an adapter as PEFT saved it, in a folder or on a hub: made here, pinned by its
digest, made again elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from click.testing import CliRunner
from peft import PeftModel
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.support import models
from tests.support.hub_server import HubRepository, serve_hub
from tests.support.projects import Listening, new_project
from xpm.cli.main import cli
from xpm.errors import BaseMismatchError, FetchError, NotFoundError, ProjectError, UsageError
from xpm.lockfile import Lockfile, Made
from xpm.operations import install as operations
from xpm.operations.collect import collect
from xpm.operations.installed import find_installed, installed
from xpm.operations.models import find_model
from xpm.operations.options import Options
from xpm.operations.undo import redo, undo
from xpm.operations.verify import verify
from xpm.parse_source import parse_source
from xpm.project import Project
from xpm.sources import FromAdapter
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_index.errors import IntegrityError
from xpm_runtime import AdapterSpec, Engine

KINDS = ("lora", "rslora", "dora", "ia3")
FIRST, SECOND = "1" * 40, "2" * 40
MODEL = "Acme/Tiny.Llama"


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A model, and adapters of it as PEFT saved them; their configuration names the model by a hub's id."""
    place = tmp_path_factory.mktemp("material")
    source = models.save_tiny_model(place / "Tiny.Llama", architecture="llama-biased")
    for seed, kind in enumerate(KINDS):
        folder = models.save_adapter(source, place / kind, models.CONFIGS[kind](), seed=seed)
        change_config(folder, base_model_name_or_path=MODEL)
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# An adapter\n")
    newer = models.save_adapter(source, place / "newer", models.CONFIGS["lora"](), seed=9)
    change_config(newer, base_model_name_or_path=MODEL)
    return place


@pytest.fixture
def hub(material, monkeypatch):
    """Repositories by id; the base's model is one of them."""
    repositories = {MODEL: HubRepository.of(material / "Tiny.Llama")}
    repositories |= {f"acme/My.{kind}": HubRepository.of(material / kind, commit=FIRST) for kind in KINDS}
    with serve_hub(repositories) as (endpoint, asked):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        repositories["asked"] = asked
        yield repositories
        del repositories["asked"]


@pytest.fixture
def environment(tmp_path, material):
    """A project on the model's base, made of its folder."""
    made = new_project(tmp_path)
    shutil.copytree(material, made.folder / "material")
    add_base(made, "./material/Tiny.Llama")
    return made


def add_base(environment, text, variant="fp32", **options):
    source = find_model(text, folder=environment.folder, cwd=environment.folder)
    return operations.use_model(environment, source, variant=variant, **options)


def install(environment, *texts, options=None, called=""):
    wanted = [parse_source(text, folder=environment.folder) for text in texts]
    return operations.install(environment, wanted, options or Options(), called=called)


def change_config(folder, **changes):
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def elsewhere(environment, tmp_path, name="other"):
    """The same project on another machine, which has nothing in its store."""
    (tmp_path / name).mkdir()
    other = new_project(tmp_path / name)
    shutil.copytree(environment.folder, other.folder, dirs_exist_ok=True)
    return other


def said_of(environment, *texts, **more):
    progress = Listening()
    install(environment, *texts, options=Options(progress=progress), **more)
    return "\n".join(progress.warnings)


@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_adapter_answers_as_in_peft(kind, environment, hub, material):
    change = install(environment, f"hf:acme/My.{kind}")
    name = f"my-{kind}"
    assert change.added == (f"{name} 0.1.0+{FIRST[:12]}",)
    assert environment.project().experts == {name: FromAdapter(adapter=f"hf:acme/My.{kind}")}
    base, expert = installed(environment)
    tokens = probe_tokens(models.VOCAB_SIZE, seed=3)
    with Engine.load(base.folder, device="cpu", threads=1, max_lanes=1) as engine:
        engine.attach(AdapterSpec.read(name, expert.folder, digest=expert.digest))
        got, alone = engine.logits(tokens, experts=[name]), engine.logits(tokens)
    peft = PeftModel.from_pretrained(models.load(material / "Tiny.Llama"), str(material / kind)).eval()
    wanted = reference_logits(peft, tokens)
    assert np.abs(got - wanted).max() < 5e-5 * np.abs(wanted).max()
    assert np.abs(got - alone).max() > 0.02
    manifest = expert.manifest()
    assert (manifest.license, manifest.bases[0].digest) == ("apache-2.0", change.lock.base_digest)
    assert manifest.raw["trained_on"]["model"] == MODEL


def test_the_lock_says_how_it_was_made(environment, hub):
    lock = install(environment, "hf:acme/My.lora@main").lock
    text = (environment.folder / "xpm.lock").read_text()
    [expert] = lock.experts
    assert isinstance(expert.origin, Made)
    assert (expert.origin.source, expert.origin.revision) == ("adapter:hf:acme/My.lora@main", FIRST)
    assert [ref.base_digest for ref in expert.archives] == [lock.base_digest]
    assert "signed = false" in text
    assert Lockfile.parse(text, environment.folder / "xpm.lock") == lock
    older = text.replace("signed = false\n", "")
    assert Lockfile.parse(older, environment.folder / "xpm.lock") == lock
    checked = verify(environment)
    assert str(expert) in checked.verified
    assert str(expert) in checked.unsigned


def test_it_is_marked_as_unsigned(environment, hub, monkeypatch):
    monkeypatch.chdir(environment.folder)
    monkeypatch.setenv("XPM_HOME", str(environment.home.root))

    def run(*arguments):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    assert "unsigned: tone" in run("install", "hf:acme/My.lora", "--name", "tone")
    assert "unsigned (made here)" in run("list")
    assert [each["signed"] for each in json.loads(run("list", "--json"))] == [False, False]
    assert f"verified: tone 0.1.0+{FIRST[:12]} (signed by nobody: the bytes that xpm.lock pins)" in run("verify")
    card = run("info", "tone")
    assert "by nobody" in card
    assert f"adapter:hf:acme/My.lora at {FIRST}" in " ".join(card.split())
    assert "apache-2.0" in card
    assert json.loads(run("info", "tone", "--json"))["signed"] is False
    assert "tone" in run("tree")


def test_it_runs_installed_or_not(environment, hub, monkeypatch):
    monkeypatch.chdir(environment.folder)
    monkeypatch.setenv("XPM_HOME", str(environment.home.root))

    def answer(*experts):
        named = [part for each in experts for part in ("--expert", each)]
        done = CliRunner().invoke(
            cli, ["run", *named, "--temperature", "3", "--seed", "1", "--max-tokens", "12", "--json", "x"]
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["text"]

    install(environment, "hf:acme/My.dora", "hf:acme/My.ia3")
    assert answer("my-dora") == answer("./material/dora")
    assert answer("my-dora", "my-ia3") == answer("./material/dora", "./material/ia3") != answer()
    for command in ("outdated", "why my-dora", "doctor", "base list", "gc --dry-run", "cache list", "undo", "redo"):
        done = CliRunner().invoke(cli, command.split())
        assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"


def test_a_folder(environment, tmp_path):
    lock = install(environment, "./material/lora").lock
    assert environment.project().experts == {"lora": FromAdapter(adapter="material/lora")}
    assert str(environment.folder) not in (environment.folder / "xpm.lock").read_text()
    assert install(environment, "./material/lora").is_nothing
    other = elsewhere(environment, tmp_path)
    assert set(operations.sync(other, frozen=True).fetched) == {str(lock.base), str(lock.experts[0])}
    assert operations.sync(other, locked=True).is_nothing
    shutil.copyfile(
        other.folder / "material" / "newer" / ADAPTER_WEIGHTS, other.folder / "material/lora" / ADAPTER_WEIGHTS
    )
    with pytest.raises(IntegrityError, match="is not the adapter that is locked"):
        operations.sync(other, frozen=True, reinstall=True)
    changed = operations.update(other, ["lora"])
    assert changed.updated
    assert changed.lock.experts[0].origin != lock.experts[0].origin


def test_it_is_made_again_elsewhere(environment, hub, tmp_path):
    lock = install(environment, "hf:acme/My.dora", "hf:acme/My.ia3").lock
    hub["acme/My.dora"].branches["main"] = SECOND  # what is locked is fetched, not what is newest
    other = elsewhere(environment, tmp_path)
    text = (other.folder / "xpm.lock").read_bytes()
    change = operations.sync(other, frozen=True)
    assert set(change.fetched) == set(map(str, lock.packages))
    assert (other.folder / "xpm.lock").read_bytes() == text
    for each in lock.packages:
        assert other.store.get(each.archives[0].digest) is not None


def test_other_bytes_at_the_same_revision_are_refused(environment, hub, tmp_path, material):
    install(environment, "hf:acme/My.lora")
    altered = shutil.copytree(material / "lora", tmp_path / "altered")
    weights = altered / ADAPTER_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    hub["acme/My.lora"].commits[FIRST] = altered
    other = elsewhere(environment, tmp_path)
    with pytest.raises(IntegrityError, match="is not the adapter that is locked") as caught:
        operations.sync(other, frozen=True)
    assert caught.value.exit_code == 6
    assert caught.value.hint
    assert len(other.store.digests()) == 1, "the base alone"
    hub["acme/My.lora"].commits[FIRST] = material / "lora"
    assert operations.sync(other, frozen=True).fetched


def test_bytes_that_come_out_otherwise_are_refused(environment, hub, tmp_path):
    lock = install(environment, "hf:acme/My.lora").lock
    other = elsewhere(environment, tmp_path)
    path = other.folder / "xpm.lock"
    path.write_text(path.read_text().replace(lock.experts[0].archives[0].digest, "sha256:" + "0" * 64))
    with pytest.raises(IntegrityError, match="came out otherwise than it is locked") as caught:
        operations.sync(other, frozen=True)
    assert "`xpm update my-lora`" in caught.value.hint
    operations.update(other, ["my-lora"])
    assert other.lockfile() == lock


def test_what_was_altered_in_the_store_is_made_again(environment, hub):
    install(environment, "hf:acme/My.lora")
    for name in ("slots.safetensors", "manifest.json"):
        path = find_installed(environment, "my-lora").folder / name
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        with pytest.raises(IntegrityError, match="came out otherwise"):
            verify(environment)
        assert verify(environment, repair=True).repaired == (f"my-lora 0.1.0+{FIRST[:12]}",)
        assert verify(environment).repaired == ()


def test_update_looks_for_a_newer_revision(environment, hub, material):
    install(environment, "hf:acme/My.lora")
    assert operations.update(environment, ["my-lora"]).is_nothing
    hub["acme/My.lora"].commits[SECOND] = material / "newer"
    hub["acme/My.lora"].branches["main"] = SECOND
    assert operations.sync(environment).is_nothing
    assert operations.lock(environment).is_nothing
    change = operations.update(environment, ["my-lora"])
    assert change.updated == (f"my-lora 0.1.0+{FIRST[:12]} -> 0.1.0+{SECOND[:12]}",)
    assert change.lock.experts[0].origin.revision == SECOND
    undo(environment)
    assert environment.lockfile().experts[0].origin.revision == FIRST
    redo(environment)
    install(environment, f"hf:acme/My.lora@{FIRST}")
    assert operations.update(environment, []).is_nothing, "a commit is pinned"
    assert environment.lockfile().experts[0].origin.revision == FIRST


def test_a_hub_that_can_t_be_asked_keeps_others_from_no_update(environment, hub, monkeypatch):
    install(environment, "hf:acme/My.lora")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    progress = Listening()
    assert operations.update(environment, [], Options(progress=progress)).is_nothing
    assert "my-lora stays as it is" in "\n".join(progress.warnings)


def test_removed_and_collected(environment, hub):
    lock = install(environment, "hf:acme/My.lora").lock
    digest = lock.experts[0].archives[0].digest
    operations.uninstall(environment, ["my-lora"])
    undo(environment)
    assert str(environment.lockfile().experts[0]) == str(lock.experts[0])
    redo(environment)
    assert environment.store.get(digest) is not None
    collect(environment.home, keep_undo=timedelta(0))
    assert environment.store.get(digest) is None
    undo(environment)
    assert environment.store.get(digest) is not None


def test_offline_what_was_fetched_once_is_there(environment, hub, tmp_path):
    offline = Options(offline=True)
    with pytest.raises(FetchError, match="--offline"):
        install(environment, "hf:acme/My.lora", options=offline)
    first = install(environment, "hf:acme/My.lora").lock
    asked = len(hub["asked"])
    operations.uninstall(environment, ["my-lora"])
    assert install(environment, "hf:acme/My.lora", options=offline).lock == first
    other = new_project(tmp_path, name="second")
    shutil.copytree(environment.folder / "material", other.folder / "material")
    add_base(other, "./material/Tiny.Llama")
    assert install(other, "hf:acme/My.lora", options=offline).lock.experts == first.experts
    assert len(hub["asked"]) == asked


def test_a_broken_download_is_gone_on_with(environment, hub):
    hub["acme/My.lora"].cuts += [5000]
    install(environment, "hf:acme/My.lora")
    assert any(each.endswith(" from 5000") for each in hub["asked"])
    assert not list(environment.home.downloads.rglob("*.partial"))


def test_a_base_from_a_hub_gives_its_weights(tmp_path, hub):
    """DoRA's norms are of the base's weights, which are fetched again for it."""
    environment = new_project(tmp_path)
    add_base(environment, MODEL)
    progress = Listening()
    lock = install(environment, "hf:acme/My.dora", options=Options(progress=progress)).lock
    assert progress.warnings == []
    assert install(environment, "hf:acme/My.lora").added
    other = elsewhere(environment, tmp_path)
    assert operations.sync(other, frozen=True).fetched == tuple(map(str, environment.lockfile().packages))
    assert lock.experts[0] in other.lockfile().experts


def test_another_base_makes_it_anew(environment, hub):
    first = install(environment, "hf:acme/My.lora").lock.experts[0]
    add_base(environment, "./material/Tiny.Llama", variant="int8")
    assert environment.lockfile().experts[0] == first, "variants of a base have one fingerprint"
    other = models.save_tiny_model(environment.folder / "other", architecture="llama-biased", seed=5)
    add_base(environment, "./other")
    again = environment.lockfile().experts[0]
    assert again.archives[0].base_digest != first.archives[0].base_digest
    assert again.origin.made_of == first.origin.made_of
    shutil.rmtree(other)
    models.save_tiny_model(environment.folder / "another", architecture="qwen2")
    before = (environment.folder / "xpm.toml").read_bytes()
    with pytest.raises(BaseMismatchError, match="does not fit the base here"):
        add_base(environment, "./another")
    assert (environment.folder / "xpm.toml").read_bytes() == before


def test_names(environment, hub):
    install(environment, "hf:acme/My.lora", called="tone")
    assert list(environment.project().experts) == ["tone"]
    for called in ("tone", "expert-tone"):
        with pytest.raises(UsageError, match="tone is here already") as caught:
            install(environment, "hf:acme/My.dora", called=called)
        assert "--name" in caught.value.hint
    with pytest.raises(UsageError, match="is the base here"):
        install(environment, "hf:acme/My.dora", called="tiny-llama")
    with pytest.raises(UsageError, match="a name is chosen for one adapter"):
        install(environment, "hf:acme/My.dora", "hf:acme/My.ia3", called="x")
    assert install(environment, f"hf:acme/My.lora@{FIRST}", called="tone").lock.experts
    folder = shutil.copytree(environment.folder / "material" / "lora", environment.folder / "---")
    with pytest.raises(UsageError, match="gives no name of an expert") as caught:
        install(environment, "./---")
    assert "--name" in caught.value.hint
    assert folder.is_dir()


def test_what_it_was_trained_on(environment, hub, tmp_path):
    assert said_of(environment, "hf:acme/My.lora") == ""
    folder = environment.folder / "material" / "rslora"
    for stated, name in ((f"/models/{MODEL}", "a"), ("acme/tiny-llama", "b"), ("F:\\Tiny.Llama\\", "c")):
        change_config(folder, base_model_name_or_path=stated)
        assert said_of(environment, "./material/rslora", called=name) == ""
    change_config(folder, base_model_name_or_path="unsloth/Tiny.Llama-bnb-4bit")
    said = said_of(environment, "./material/rslora", called="d")
    assert "trained on unsloth/Tiny.Llama-bnb-4bit, here is tiny-llama" in said
    change_config(folder, base_model_name_or_path=None)
    assert "does not say what it was trained on" in said_of(environment, "./material/rslora", called="e")
    other = new_project(tmp_path, name="hubs")
    shutil.copytree(environment.folder / "material", other.folder / "material")
    add_base(other, f"hf:{MODEL}@main")
    folder = other.folder / "material" / "lora"
    for stated, revision in ((MODEL, None), (MODEL.lower(), "main"), (MODEL, "0123456789abcdef")):
        change_config(folder, base_model_name_or_path=stated, revision=revision)
        assert said_of(other, "./material/lora") == ""
    change_config(folder, revision="v2")
    assert f"was trained on {MODEL} at v2" in said_of(other, "./material/lora")
    change_config(folder, base_model_name_or_path="mirror/Tiny.Llama", revision=None)
    assert "was trained on mirror/Tiny.Llama, here is" in said_of(other, "./material/lora")


@pytest.mark.parametrize(("layers", "hidden"), [(1, 64), (3, 64), (2, 96)])
def test_another_base_than_it_was_trained_on(layers, hidden, tmp_path, material, hub):
    environment = new_project(tmp_path)
    models.save_tiny_model(environment.folder / "model", architecture="llama-biased")
    config = models.ARCHITECTURES["llama-biased"]()
    config.num_hidden_layers, config.hidden_size, config.head_dim = layers, hidden, 16
    AutoModelForCausalLM.from_config(config).save_pretrained(environment.folder / "model")
    add_base(environment, "./model")
    before = environment.lockfile()
    with pytest.raises(BaseMismatchError, match="does not fit the base here") as caught:
        install(environment, "hf:acme/My.lora")
    assert caught.value.exit_code == 4
    assert f"trained on {MODEL}, here is model" in caught.value.context
    assert f"`xpm base add {MODEL}`" in caught.value.hint
    assert environment.lockfile() == before
    assert len(environment.store.digests()) == 1


def test_on_the_base_that_comes_with_xpm(tmp_path, hub):
    environment = new_project(tmp_path)
    with pytest.raises(UsageError, match="xpm-tiny is not here yet"):
        install(environment, "hf:acme/My.lora", options=Options(dry_run=True))
    assert environment.store.digests() == []
    with pytest.raises(BaseMismatchError, match="does not fit") as caught:
        install(environment, "hf:acme/My.lora")
    assert "here is xpm-tiny" in caught.value.context


def test_what_the_hub_refuses(environment, hub, material, monkeypatch, tmp_path):
    with pytest.raises(FetchError, match="the hub has no acme/None"):
        install(environment, "hf:acme/None")
    with pytest.raises(FetchError, match=r"acme/My.lora has no revision v9"):
        install(environment, "hf:acme/My.lora@v9")
    with pytest.raises(FetchError, match=f"{MODEL} is no adapter") as caught:
        install(environment, f"hf:{MODEL}", called="x")
    assert f"xpm base add {MODEL}" in caught.value.hint
    pickled = shutil.copytree(material / "lora", tmp_path / "pickled")
    (pickled / ADAPTER_WEIGHTS).rename(pickled / "adapter_model.bin")
    hub["acme/pickled"] = HubRepository.of(pickled)
    with pytest.raises(FetchError, match=r"has no adapter_model\.safetensors") as caught:
        install(environment, "hf:acme/pickled")
    assert "adapter_model.bin is a pickle" in caught.value.context
    hub["acme/gated"] = HubRepository.of(material / "lora", token="secret")
    with pytest.raises(FetchError, match="acme/gated may not be read") as caught:
        install(environment, "hf:acme/gated")
    assert "HF_TOKEN" in caught.value.hint
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(FetchError, match="may not be read"):
        install(environment, "hf:acme/gated")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert install(environment, "hf:acme/gated").added
    assert "secret" not in (environment.folder / "xpm.lock").read_text()


def test_what_is_not_compiled(environment, material):
    folder = environment.folder / "material" / "lora"
    before = (environment.folder / "xpm.lock").read_bytes()
    change_config(folder, peft_type="LOHA")
    with pytest.raises(BuildError, match="type LOHA are not supported") as caught:
        install(environment, "./material/lora")
    assert "LORA" in caught.value.hint
    change_config(folder, peft_type="LORA", rank_pattern={"(.*)*x": 4})
    with pytest.raises(BuildError, match="repeats"):
        install(environment, "./material/lora")
    (folder / ADAPTER_CONFIG).unlink()
    with pytest.raises(BuildError, match=r"has no adapter_config\.json"):
        install(environment, "./material/lora")
    shutil.copyfile(material / "lora" / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
    (folder / ADAPTER_WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(BuildError, match=r"has no adapter_model\.safetensors") as caught:
        install(environment, "./material/lora")
    assert "pickle" in caught.value.context
    shutil.rmtree(folder)
    with pytest.raises(NotFoundError, match="there is no folder"):
        operations.install(environment, [FromAdapter(adapter="material/lora")])
    assert (environment.folder / "xpm.lock").read_bytes() == before


@pytest.mark.parametrize("shape", [(), (8,), (8, 64, 1), (0, 64)])
def test_tensors_of_other_shapes(shape, environment):
    folder = environment.folder / "material" / "lora"
    weights = load_file(folder / ADAPTER_WEIGHTS)
    for name in weights:
        if ".lora_A." in name:
            weights[name] = np.zeros(shape, np.float32)
    save_file(weights, folder / ADAPTER_WEIGHTS)
    with pytest.raises((BaseMismatchError, BuildError)):
        install(environment, "./material/lora")


def test_no_licence_is_told(environment, hub, material, tmp_path):
    folder = shutil.copytree(material / "lora", tmp_path / "bare")
    (folder / "README.md").unlink()
    hub["acme/bare"] = HubRepository.of(folder)
    assert "bare states no licence" in said_of(environment, "hf:acme/bare")
    assert find_installed(environment, "bare").manifest().license == ""


def test_what_is_no_adapter(environment):
    for text in ("hf:nobody", "hf:a/b@../c", "hf:a/b#x.gguf", "hf:../../etc", "hf:a/b/c", "hf:a/b@", "hf:-a/b"):
        with pytest.raises(UsageError, match="names no adapter"):
            parse_source(text, folder=environment.folder)
    (environment.folder / "xpm.toml").write_text('[experts]\nx = { adapter = "hf:../../etc" }\n')
    with pytest.raises(ProjectError, match=r"experts\.x\.adapter"):
        Project.read(environment.folder)


def test_no_torch_is_needed(environment, hub):
    """Neither torch nor Transformers nor PEFT is imported."""
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft', 'huggingface_hub'): sys.modules[name] = None\n"
        "sys.argv = ['xpm', 'install', 'hf:acme/My.dora']\n"
        "from xpm.cli.main import main\n"
        "main()\n"
    )
    variables = os.environ | {"XPM_HOME": str(environment.home.root)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=environment.folder, env=variables, timeout=120, capture_output=True, text=True)
    assert "added: my-dora" in done.stdout + done.stderr, done.stderr
