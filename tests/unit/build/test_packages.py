"""Archives from folders: what they hold, what their manifests say, and that the same input gives the same bytes."""

import base64
import json
import re
import shutil
import subprocess

import pytest

from tests.support import models
from tests.support.packages import FILES, PUBLISHER, SIGNED_AT, IndexKeys, make_index, make_manifest
from xpm.home import Home
from xpm.operations.publish import publish, sign
from xpm_build.adapter.places import adapter_places
from xpm_build.base.chat_templates import CHAT_TEMPLATE, TEMPLATES
from xpm_build.errors import BuildError
from xpm_build.manifest_check import UnsoundManifest
from xpm_build.packages import build_base, build_expert
from xpm_index.archive import extract_archive, read_files, read_manifest, write_archive
from xpm_index.digests import sha256_file
from xpm_index.errors import ManifestError
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.provenance import PROVENANCE, read_provenance
from xpm_index.publishing import sign_archive
from xpm_runtime import Message
from xpm_runtime.graph import EXPORTED_GRAPH, GRAPHS
from xpm_runtime.text import TextCodec


@pytest.fixture(scope="module")
def bases(tiny_base, tmp_path_factory):
    out = tmp_path_factory.mktemp("bases")
    said = []
    built = build_base(tiny_base.source, out, name="tiny", version="1.2.3", license="Apache-2.0", report=said.append)
    assert sum("written in" in line for line in said) == 3
    return {each.variant: each for each in built}


def test_a_base_in_all_variants(bases):
    assert set(bases) == {"source", "fp32", "int8", "int4"}
    assert bases["fp32"].path.name == "tiny-fp32.v1.2.3.base"
    assert bases["fp32"].max_logit_error < 1e-4
    assert bases["int4"].size < bases["int8"].size < bases["fp32"].size
    digests = {read_manifest(each.path).base.digest for each in bases.values()}
    assert len(digests) == 1
    fp32 = set(read_files(bases["fp32"].path))
    assert {
        "manifest.json",
        "model.onnx",
        "graph.json",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= fp32
    for variant in ("int8", "int4"):
        assert set(GRAPHS) - {EXPORTED_GRAPH} <= set(read_files(bases[variant].path))
    assert "model.safetensors" in read_files(bases["source"].path)
    assert "model.onnx" not in read_files(bases["source"].path)


def test_the_same_model_gives_the_same_bytes(bases, tiny_base, tmp_path):
    again = build_base(
        tiny_base.source, tmp_path, name="tiny", version="1.2.3", license="Apache-2.0", variants=["fp32", "int4"]
    )
    assert [each.digest for each in again] == [bases["fp32"].digest, bases["int4"].digest]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-fp32.v1.2.3.base", "tiny-int4.v1.2.3.base"]


def _expert(folder, peft, **changes):
    shutil.copytree(peft, folder)
    manifest = {
        "schema_version": "2.0",
        "name": "expert-x",
        "version": "0.1.0",
        "description": "é",
        "_comment": "kept",
        "base_models": [{"name": "F:/models/Tiny", "sha256": "", "adapters": [{"type": "dora", "dropout": 0.1}]}],
    }
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return folder


def test_an_expert(tiny_base, tiny_adapter, tmp_path):
    folder = _expert(tmp_path / "x", tiny_adapter("dora").peft)
    built = build_expert(folder, tmp_path / "one", base=tiny_base.source)
    assert built.path.name == "expert-x-tiny.v0.1.0.expert"
    assert built.max_logit_error < 1e-4
    manifest = read_manifest(built.path)
    base = manifest.raw["base_models"][0]
    assert (manifest.raw["_comment"], base["adapters"][0]["dropout"], base["adapters"][0]["r"]) == ("kept", 0.1, 8)
    assert manifest.bases[0].digest == json.loads((tiny_base.graph / "graph.json").read_text())["base_digest"]
    assert set(read_files(built.path)) == {
        "manifest.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "slots.safetensors",
        "README.md",
        PROVENANCE,
    }
    assert build_expert(folder, tmp_path / "two", base=tiny_base.source).digest == built.digest


def test_slots_alone(tiny_base, tiny_adapter, tmp_path):
    folder = _expert(tmp_path / "x", tiny_adapter("lora").peft)
    whole = build_expert(folder, tmp_path / "whole", base=tiny_base.source, storage="int8")
    built = build_expert(folder, tmp_path / "out", base=tiny_base.source, storage="int8", slots_only=True)
    files = read_files(built.path)
    assert set(files) == {"manifest.json", "slots.safetensors", "README.md", PROVENANCE}
    assert files["slots.safetensors"] == read_files(whole.path)["slots.safetensors"]
    (stated,) = read_manifest(built.path).raw["base_models"][0]["adapters"]
    assert (stated["path"], stated["size_bytes"]) == ("slots.safetensors", len(files["slots.safetensors"]))
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    extract_archive(built.path, unpacked)
    with pytest.raises(BuildError, match="has no adapter_config") as caught:
        build_expert(unpacked, tmp_path / "again", base=tiny_base.source)
    assert "--slots-only" in caught.value.context


def test_an_expert_says_what_it_was_built_of(tiny_base, tiny_adapter, tmp_path):
    work = tmp_path / "jane" / "work"
    settings = {"method": "lora", "dataset": {"path": "data/rows.jsonl"}}
    folder = _expert(work / "experts/x", tiny_adapter("lora").peft, training=settings)
    (folder / "data").mkdir()
    (folder / "data/rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    git = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.hooksPath=/dev/null"]
    for arguments in (
        ("init", "-q"),
        ("remote", "add", "origin", "ssh://jane@git.example.org/acme/experts"),
        ("add", "experts/x/manifest.json", "experts/x/data"),
        ("commit", "-qm", "x"),
    ):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    said = []
    built = build_expert(
        folder, tmp_path / "out", base=tiny_base.source, builder="https://ci.example.org/x", report=said.append
    )
    data = read_files(built.path)[PROVENANCE]
    stated = read_provenance(data)
    source, found = stated.source, {each.name: each for each in stated.dependencies}
    assert source.to_dict() == {
        "name": "source",
        "uri": "git+ssh://git.example.org/acme/experts",
        "digest": {"gitCommit": commit},
        "annotations": {
            "path": "experts/x",
            "notInCommit": ["adapter_config.json", "adapter_model.safetensors", "README.md"],
        },
    }
    rows = sha256_file(folder / "data/rows.jsonl").removeprefix("sha256:")
    assert found["data/rows.jsonl"].digests == {"sha256": rows}
    assert found["tiny"].digests["xpmFingerprint"] == read_manifest(built.path).bases[0].digest.removeprefix("sha256:")
    assert found["torch"].uri.startswith("pkg:pypi/torch@2")
    assert stated.parameters["training"] == {"method": "lora"}
    manifest = sha256_file(folder / "manifest.json").removeprefix("sha256:")
    assert stated.parameters["manifest"] == {"name": "manifest.json", "digest": {"sha256": manifest}}
    assert b"jane" not in base64.b64decode(json.loads(data)["payload"])
    assert f"https://ci.example.org/x, of commit {commit[:12]}" in said[-1]
    (work / ".git/HEAD").write_text("nonsense")
    built = build_expert(folder, tmp_path / "out", base=tiny_base.source, report=said.append)
    assert said[-2].startswith("no commit is stated: ")
    assert read_provenance(read_files(built.path)[PROVENANCE]).source is None
    with pytest.raises(BuildError, match="no URI of a builder"):
        build_expert(folder, tmp_path / "out", base=tiny_base.source, builder="the release job")


def test_an_expert_for_other_weights_is_refused(tiny_base, tiny_adapter, tmp_path):
    base = [{"name": "tiny", "sha256": "0" * 64}]
    folder = _expert(tmp_path / "x", tiny_adapter("lora").peft, base_models=base)
    with pytest.raises(BuildError, match="other weights"):
        build_expert(folder, tmp_path / "out", base=tiny_base.source)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_of_several_bases_the_archive_is_for_the_one_that_is_given(tiny_base, tiny_adapter, tmp_path):
    """One folder with an adapter for each; which is meant is known by the weights, or else by the name."""
    peft = tiny_adapter("lora").peft
    digest = (
        read_manifest(build_expert(_expert(tmp_path / "one", peft), tmp_path / "one-out", base=tiny_base.source).path)
        .bases[0]
        .digest
    )
    there = {"path": "for-other/adapter_model.safetensors", "type": "lora"}
    here = {"path": "for-tiny/adapter_model.safetensors", "type": "lora"}
    for stated, name in ((digest.removeprefix("sha256:"), None), ("", "tiny")):
        two = [
            {"name": "other", "sha256": "1" * 64 if stated else "", "adapters": [there]},
            {"name": "tiny", "sha256": stated, "adapters": [here]},
        ]
        folder = _expert(tmp_path / f"by-{name}", peft, base_models=two)
        shutil.copytree(peft, folder / "for-tiny")
        shutil.copytree(tiny_adapter("lora", 2).peft, folder / "for-other")
        built = build_expert(folder, tmp_path / "out", base=tiny_base.source, name=name)
        manifest = read_manifest(built.path)
        assert [(each.name, each.digest) for each in manifest.bases] == [("tiny", digest)]
        assert "for-tiny/adapter_model.safetensors" in read_files(built.path)
        assert not any(each.startswith("for-other") for each in read_files(built.path))
    with pytest.raises(BuildError, match="other weights"):
        build_expert(folder, tmp_path / "out", base=tiny_base.source, name="third")


def test_a_manifest_that_is_absent_or_wrong(tiny_base, tiny_adapter, tmp_path):
    with pytest.raises(BuildError, match=r"has no manifest\.json"):
        build_expert(tiny_adapter("lora").peft, tmp_path / "out", base=tiny_base.source)
    folder = _expert(tmp_path / "x", tiny_adapter("lora").peft, version="one")
    with pytest.raises(ManifestError, match="version"):
        build_expert(folder, tmp_path / "out", base=tiny_base.source)


_UNSOUND = [
    ({"soft_prompts": [{"name": "s", "path": "soft_prompts/s.bin", "tokens": 48}]}, r"soft_prompts\[0\]\.path"),
    ({"decoding": {"top_k": 2.5}}, r"decoding\.top_k"),
    ({"decoding": {"stop_sequences": 3}}, r"decoding\.stop_sequences"),
    ({"constraints": {"requires": ["x"]}}, r"constraints\.requires"),
    ({"trainning": {}}, "trainning"),
]


@pytest.mark.parametrize(("changes", "where"), _UNSOUND)
def test_what_check_refuses_is_not_built_signed_or_published(changes, where, tiny_base, tiny_adapter, tmp_path):
    folder = _expert(tmp_path / "x", tiny_adapter("lora").peft, **changes)
    with pytest.raises(UnsoundManifest) as caught:
        build_expert(folder, tmp_path / "out", base=tiny_base.source)
    assert re.search(where, caught.value.context)
    archive, key = tmp_path / "x.expert", SigningKey.generate()
    manifest = make_manifest("expert-x", **changes)
    write_archive(archive, {"manifest.json": manifest.to_bytes(), **FILES})
    before = archive.read_bytes()
    with pytest.raises(UnsoundManifest):
        sign(archive, key, PUBLISHER)
    assert archive.read_bytes() == before
    sign_archive(archive, key, publisher=PUBLISHER, created_at=SIGNED_AT)
    keys = IndexKeys()
    writer = make_index(tmp_path / "index.git", key, keys=keys)
    head = writer.head
    with pytest.raises(UnsoundManifest) as caught:
        publish(Home(tmp_path / "home"), str(tmp_path / "index.git"), [archive], keys=keys.ring, when=SIGNED_AT)
    assert re.search(where, caught.value.context)
    assert writer.head == head


def test_a_soft_prompt_that_is_there_is_built_signed_and_published(tiny_base, tiny_adapter, tmp_path):
    folder = tmp_path / "x"
    shutil.copytree(tiny_adapter("prompt").peft, folder / "soft")
    document = {
        "name": "expert-x",
        "version": "0.1.0",
        "base_models": [{"name": "tiny"}],
        "decoding": {"grammar_file": "g/sql.gbnf"},
        "soft_prompts": [{"name": "s", "path": "soft/adapter_model.safetensors"}],
    }
    (folder / "g").mkdir()
    (folder / "g/sql.gbnf").write_text('root ::= "word"')
    (folder / "manifest.json").write_text(json.dumps(document))
    built = build_expert(folder, tmp_path / "out", base=tiny_base.source)
    key, keys = SigningKey.generate(), IndexKeys()
    sign(built.path, key, PUBLISHER)
    assert {"soft/adapter_model.safetensors", "g/sql.gbnf"} <= set(read_files(built.path))
    make_index(tmp_path / "index.git", key, keys=keys)
    published = publish(Home(tmp_path / "home"), str(tmp_path / "index.git"), [built.path], keys=keys.ring)
    assert published.entry.name == "expert-x"


@pytest.mark.parametrize(
    ("adapters", "prompts", "message"),
    [
        (["one/adapter_model.safetensors", "two/adapter_model.safetensors"], [], "names an adapter in two/"),
        ([], ["soft/s.safetensors"], "names a soft prompt in soft/"),
        ([], ["one/other.safetensors"], r"a soft prompt is adapter_model\.safetensors"),
    ],
)
def test_adapters_that_are_named_and_not_there(adapters, prompts, message, tiny_adapter, tmp_path):
    shutil.copytree(tiny_adapter("lora").peft, tmp_path / "one")
    for path in prompts:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    base = {"name": "tiny", "adapters": [{"type": "lora", "path": path} for path in adapters]}
    listed = [{"name": "s", "path": path} for path in prompts]
    manifest = Manifest({"name": "expert-x", "version": "1.0.0", "base_models": [base], "soft_prompts": listed})
    with pytest.raises(BuildError, match=message):
        adapter_places(manifest, tmp_path)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_base_without_a_chat_template_is_given_one(name, tiny_base, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(tiny_base.source, source)
    (source / CHAT_TEMPLATE).unlink(missing_ok=True)
    config = json.loads((source / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    (built,) = build_base(source, tmp_path / "dist", name="x", version="1.0.0", variants=("source",), template=name)
    extract_archive(built.path, tmp_path / "base")
    codec = TextCodec(tmp_path / "base")
    ids = codec.encode_chat([Message(role="user", content="hello"), Message(role="assistant", content="yes")])
    text = codec.tokenizer.decode(ids, skip_special_tokens=False)
    assert text.index("hello") < text.index("yes")
    with pytest.raises(BuildError, match="chat template of its own"):
        build_base(tiny_base.source, tmp_path / "dist", name="x", version="1.0.0", variants=("source",), template=name)


def _source(tiny_base, folder, **changes):
    """A copy of the base's folder with top-level keys of its JSON files changed: ``config={...}`` of config.json."""
    shutil.copytree(tiny_base.source, folder)
    for name, keys in changes.items():
        path = folder / f"{name}.json"
        before = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**before, **keys}))
    return folder


def _built(source, tmp_path, variant="fp32"):
    (built,) = build_base(source, tmp_path / "dist", name="x", version="1.0.0", variants=(variant,))
    extract_archive(built.path, tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize(
    ("config", "generation", "wanted"),
    [
        (2, [2, 25], [2, 25]),
        (2, 25, [2, 25]),
        ([2, 7], [25, 2], [2, 7, 25]),
        (None, [25], [25]),
        (2, None, [2]),
        (None, None, []),
    ],
)
def test_answers_end_where_either_configuration_says(config, generation, wanted, tiny_base, tmp_path):
    source = _source(
        tiny_base, tmp_path / "source", config={"eos_token_id": config}, generation_config={"eos_token_id": generation}
    )
    assert json.loads((_built(source, tmp_path) / "graph.json").read_text())["eos_token_ids"] == wanted


@pytest.mark.parametrize("ids", ["2", [2.5], [True], [-1]])
def test_an_end_that_is_no_token(ids, tiny_base, tmp_path):
    source = _source(tiny_base, tmp_path / "source", generation_config={"eos_token_id": ids})
    with pytest.raises(BuildError, match="is not a token id"):
        _built(source, tmp_path)


@pytest.mark.parametrize("variant", ["source", "fp32"])
def test_a_base_s_tokenizer_neither_cuts_nor_pads(variant, tiny_base, tmp_path):
    batching = {"truncation": {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}}
    batching["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    source = _source(tiny_base, tmp_path / "source", tokenizer=batching)
    built = json.loads((_built(source, tmp_path, variant) / "tokenizer.json").read_text())
    assert built == {**built, "truncation": None, "padding": None}
    assert len(built["model"]["vocab"]) == models.VOCAB_SIZE


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for t in tools %}{{ t }}{% endfor %}", "refuses the messages"),
        ("{% if %}", "malformed"),
        ("{# nothing #}", "makes nothing of the messages"),
        ("{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3, "refuses"),
    ],
)
def test_a_chat_template_that_can_t_write_a_turn(template, message, tiny_base, tmp_path):
    source = _source(tiny_base, tmp_path / "source", tokenizer_config={"chat_template": template})
    with pytest.raises(BuildError, match=message):
        _built(source, tmp_path, "source")
    assert not list((tmp_path / "dist").glob("*"))


def test_of_several_chat_templates_one_is_the_default(tiny_base, tmp_path):
    named = [{"name": "default", "template": "{{ messages[0].content }}!"}, {"name": "tool_use", "template": "tools"}]
    source = _source(tiny_base, tmp_path / "source", tokenizer_config={"chat_template": named})
    codec = TextCodec(_built(source, tmp_path, "source"))
    assert codec.encode_chat([Message(role="user", content="hi")]) == codec.encode("hi!")
    with pytest.raises(BuildError, match="chat template of its own"):
        build_base(source, tmp_path / "x", name="x", version="1.0.0", variants=("source",), template="chatml")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(BuildError, match="not a model folder"):
        build_base(tmp_path, tmp_path / "out", name="x", version="1.0.0")
    models.save_tiny_model(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(BuildError, match=r"no tokenizer\.json"):
        build_base(tmp_path / "model", tmp_path / "out", name="x", version="1.0.0")
