"""The index that comes with xpm grows: a new version of an expert, for two bases, beside those that lockfiles name."""

import json
import shutil

import pytest

from examples.embedded import rebuild as recipe
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.install import install, require_stored
from xpm.operations.options import Options
from xpm.project import Project
from xpm_build.packages import build_expert
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot
from xpm_index.requirements import Requirement

NAME, VERSION = "expert-sql", "99.0.0"


@pytest.fixture(scope="module")
def grown(tiny_base, tiny_adapter, tmp_path_factory):
    """A folder with the bundle, to which a version was added that is for another base, too."""
    folder = tmp_path_factory.mktemp("grown")
    source = folder / "packages" / NAME
    shutil.copytree(recipe.PACKAGES / NAME, source)
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps(manifest | {"version": VERSION}))
    other = folder / "other"
    shutil.copytree(tiny_adapter("lora").peft, other)
    stated = {key: value for key, value in manifest.items() if key != "training"}
    (other / "manifest.json").write_text(
        json.dumps(stated | {"version": VERSION, "base_models": [{"name": "tiny", "prompt_template": "chatml"}]})
    )
    build_expert(other, folder / "real", base=tiny_base.source, storage="int8", slots_only=True)
    shutil.copyfile("xpm/embedded/index.bundle", folder / "index.bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "PACKAGES", folder / "packages")
        patch.setattr(recipe, "EXPERTS", (NAME,))
        for _ in range(2):  # the second time there is nothing to do
            recipe.rebuild(folder / "work", folder / "index.bundle", real=folder / "real", report=recipe.say)
    return folder


def test_what_was_there_stays_and_what_is_new_has_the_same_weights(grown):
    with BareRepo.init(grown / "read.git") as repo:
        index = IndexSnapshot.enclosed(repo, repo.fetch(str(grown / "index.bundle")))
        earlier, added = index.entries(NAME)[-2:]
        assert str(added.version) == VERSION
        assert [each.base for each in added.archives] == ["xpm-tiny", "tiny"]
        assert earlier.key_id != added.key_id
        assert {earlier.key_id, added.key_id} <= {each.public.key_id for each in index.publisher("xpm").keys}
        before = recipe.unpack_whole(index, NAME, grown / "before")
        after = recipe.unpack(index, added, "", grown / "after")
    assert not (after / "adapter_model.safetensors").exists()
    assert (after / "slots.safetensors").read_bytes() == (before / "slots.safetensors").read_bytes()
    assert stated(before) == stated(after)


def stated(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return {key: manifest[key] for key in ("training", "quality_metrics", "routing", "decoding")}


def test_projects_find_what_they_have_locked_and_what_is_for_their_base(grown, tmp_path, monkeypatch):
    monkeypatch.setattr("xpm.indexes._BUNDLE", str(grown / "index.bundle"))
    for wanted, version in ((f"{NAME}==0.2.0", "0.2.0"), (NAME, VERSION)):
        folder = tmp_path / version
        folder.mkdir()
        Project().save(folder)
        environment = Environment.find(Home(tmp_path / "home"), folder)
        install(environment, [Requirement.parse(wanted)], Options())
        require_stored(environment)
        assert f'version = "{version}"' in (folder / "xpm.lock").read_text()
