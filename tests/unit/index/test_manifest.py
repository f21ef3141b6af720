"""Manifests of both schemas: lossless, read alike, and refused with the path of the key at fault."""

import json

import pytest

from xpm_index.errors import ManifestError
from xpm_index.manifest import Manifest, base_name

HEX = "ab" * 32

# As published experts of schema 1.0 are: a Windows path, empty digests, comments, nulls, text that is not ASCII.
OLD = {
    "_comment": "hand-made",
    "name": "expert-neo4j",
    "version": "0.2.3",
    "description": "Fragen → Cypher, für Köln",
    "author": None,
    "base_model": {
        "name": "F:/Node/models/Qwen3-0.6B",
        "sha256": "",
        "quantization": "int4",
        "rope_scaling": {"type": "ntk-by-parts", "factor": 4.0, "_note": "kept"},
    },
    "adapters": [{"type": "dora", "r": 16, "alpha": 32, "size_bytes": 0, "sha256": ""}],
    "soft_prompts": [{"name": "cypher", "path": "soft_prompts/cypher.pt", "length": 64}],
    "capabilities": ["language:cypher"],
    "routing": {"keywords": ["graph"], "router_hint": "database=neo4j", "priority": 1},
    "constraints": {"load_order": 6, "incompatible_with": ["expert-neo4j<=0.1.0"], "requires": ["expert-json@^0.4"]},
    "dependencies": [{"name": "english", "version": ">=1.0"}, {"name": "other", "version": "1", "optional": True}],
    "training": {"decoding": {"use_grammar": True, "temperature": 0.3}, "trained_on": "2025-11-06"},
    "quality_metrics": {"cypher_valid": "16/18"},
    "license": "CC-BY-4.0",
    "zz_unknown": [{"deep": [None, 1e-7, -0.5, {}]}],
}
NEW = {
    "name": "expert-sql",
    "version": "1.0.0",
    "schema_version": "2.0",
    "base_models": [
        {
            "name": "xpm-tiny",
            "sha256": HEX,
            "prompt_template": "qwen3",
            "adapters": [{"type": "lora"}, {"type": "ia3"}],
        },
        {"name": "Qwen/Qwen3-0.6B", "sha256": f"sha256:{HEX.upper()}", "adapters": []},
    ],
}
BASE = {
    "kind": "base",
    "name": "xpm-tiny",
    "version": "0.1.0",
    "base": {"digest": f"sha256:{HEX}", "variant": "fp32", "architecture": "qwen3"},
}


def parse(document: object) -> Manifest:
    return Manifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize("document", [OLD, NEW, BASE], ids=["schema 1.0", "schema 2.0", "base"])
def test_nothing_is_lost(document):
    again = Manifest.parse(parse(document).to_bytes())
    assert again.raw == document
    assert json.dumps(again.raw) == json.dumps(document), "the order of keys is kept"


def test_the_one_serialisation():
    data = parse(OLD).to_bytes()
    assert data.startswith(b'{\n  "_comment": "hand-made",\n')
    assert data.endswith(b"\n}\n")
    assert "Fragen → Cypher, für Köln".encode() in data
    assert Manifest.parse(data).to_bytes() == data


def test_schema_1_0():
    manifest = parse(OLD)
    assert manifest.schema_version == "1.0"
    (base,) = manifest.bases
    assert (base.name, base.digest, base.prompt_template, base.adapter_types) == (
        "qwen3-0-6b",
        None,
        "chatml",
        ("dora",),
    )
    assert manifest.author == ""
    assert [(each.name, each.path, each.num_tokens) for each in manifest.soft_prompts] == [
        ("cypher", "soft_prompts/cypher.pt", 64)
    ]
    assert [str(each) for each in manifest.requires] == ["expert-json@^0.4", "english@>=1.0"]
    assert [str(each) for each in manifest.incompatible_with] == ["expert-neo4j@<=0.1.0"]
    assert (manifest.load_order, manifest.max_chain) == (6, 10)
    assert manifest.decoding == {"use_grammar": True, "temperature": 0.3}
    assert manifest.quality_metrics == {"cypher_valid": "16/18"}
    assert manifest.routing.priority == 1.0
    assert manifest.integrity is None


def test_schema_2_0():
    manifest = parse(NEW)
    assert manifest.schema_version == "2.0"
    assert [(each.name, each.digest) for each in manifest.bases] == [
        ("xpm-tiny", f"sha256:{HEX}"),
        ("qwen3-0-6b", f"sha256:{HEX}"),
    ]
    assert manifest.bases[0].prompt_template == "qwen3"
    assert manifest.bases[0].adapter_types == ("lora", "ia3")
    assert (manifest.load_order, manifest.routing.priority) == (5, 0.5)


def test_a_base():
    manifest = parse(BASE)
    assert (manifest.kind, manifest.bases) == ("base", ())
    assert manifest.base is not None
    assert (manifest.base.digest, manifest.base.variant, manifest.base.architecture) == (
        f"sha256:{HEX}",
        "fp32",
        "qwen3",
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("xpm-tiny", "xpm-tiny"),
        ("Qwen3-0.6B", "qwen3-0-6b"),
        ("Qwen/Qwen3-0.6B", "qwen3-0-6b"),
        ("F:/Node/hivellm/Qwen3-0.6B", "qwen3-0-6b"),
        ("F:\\Node\\models\\Qwen3-0.6B\\", "qwen3-0-6b"),
        ("/srv/models/Qwen3-0.6B/", "qwen3-0-6b"),
        ("Llama 3.1__8B", "llama-3-1-8b"),
    ],
)
def test_names_of_bases(text, name):
    assert base_name(text) == name


@pytest.mark.parametrize("text", ["/", "...", "模型", "a" * 65])
def test_what_names_no_base(text):
    with pytest.raises(ManifestError, match="does not name a base"):
        base_name(text)


MALFORMED = [
    ({"name": None}, "name is missing"),
    ({"name": 5}, "name must be a string"),
    ({"name": ""}, "name must not be empty"),
    ({"name": "Expert SQL"}, "name: 'Expert SQL' is not a valid name"),
    ({"version": "1.0"}, "version: '1.0' is not a semantic version"),
    ({"schema_version": "3.0"}, "schema_version '3.0' is unknown"),
    ({"schema_version": 2.0}, "schema_version must be a string"),
    ({"kind": "router"}, "kind 'router' is unknown"),
    ({"base_models": None}, "neither base_model nor base_models"),
    ({"base_model": {"name": "a"}}, "both base_model and base_models"),
    ({"base_models": []}, "base_models must name at least one base"),
    ({"base_models": {}}, "base_models must be an array"),
    ({"base_models": ["x"]}, r"base_models\[0\] must be an object"),
    ({"base_models": [{"name": "a"}, {}]}, r"base_models\[1\]\.name is missing"),
    ({"base_models": [{"name": "a", "sha256": "abc"}]}, r"base_models\[0\]\.sha256 must be 64 hex digits or empty"),
    ({"base_models": [{"name": "a", "adapters": [1]}]}, r"base_models\[0\]\.adapters\[0\] must be an object"),
    ({"base_models": [{"name": "a", "adapters": [{"type": 1}]}]}, r"base_models\[0\]\.adapters\[0\]\.type must be"),
    ({"capabilities": "sql"}, "capabilities must be an array"),
    ({"capabilities": ["a", 1]}, r"capabilities\[1\] must be a string"),
    ({"constraints": []}, "constraints must be an object"),
    ({"constraints": {"load_order": 0}}, r"constraints\.load_order must be 1 to 10"),
    ({"constraints": {"load_order": True}}, r"constraints\.load_order must be a whole number"),
    ({"constraints": {"load_order": 5.0}}, r"constraints\.load_order must be a whole number"),
    ({"constraints": {"max_chain": 11}}, r"constraints\.max_chain must be 1 to 10"),
    ({"constraints": {"requires": ["a", "b@?"]}}, r"constraints\.requires\[1\]: '\?' is not a version range"),
    ({"constraints": {"incompatible_with": [""]}}, r"constraints\.incompatible_with\[0\]: an empty requirement"),
    ({"dependencies": [{"name": "a"}, {"version": "1"}]}, r"dependencies\[1\]\.name is missing"),
    ({"dependencies": [{"name": "a", "version": "?"}]}, r"dependencies\[0\]\.name: '\?' is not a version range"),
    ({"routing": {"priority": "high"}}, r"routing\.priority must be a number"),
    ({"routing": {"keywords": [None]}}, r"routing\.keywords\[0\] must be a string"),
    ({"soft_prompts": [{"name": "a"}]}, r"soft_prompts\[0\]\.path is missing"),
    ({"training": {"decoding": 1}}, r"training\.decoding must be an object"),
    ({"integrity": "x"}, "integrity must be an object"),
]


@pytest.mark.parametrize(("change", "reason"), MALFORMED)
def test_errors_carry_the_path_of_the_key(change, reason):
    with pytest.raises(ManifestError, match=f"^{reason}"):
        parse({**NEW, **change})


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        (None, "base is missing"),
        ({"variant": "fp32", "architecture": "x"}, r"base\.digest is missing"),
        ({"digest": HEX, "variant": "fp32", "architecture": "x"}, r"base\.digest must be sha256:"),
        ({"digest": f"sha256:{HEX}", "architecture": "x"}, r"base\.variant is missing"),
    ],
)
def test_errors_in_a_base(base, reason):
    with pytest.raises(ManifestError, match=f"^{reason}"):
        parse({**BASE, "base": base})


@pytest.mark.parametrize("data", [b"[]", b"null", b'"name"', b""])
def test_a_manifest_is_an_object(data):
    with pytest.raises(ManifestError):
        Manifest.parse(data)


def test_with_values_replaces_adds_and_removes_but_leaves_the_original_alone():
    manifest = parse(OLD)
    changed = manifest.with_values(license="MIT", homepage="https://example.org", training=None)
    assert changed.raw == {
        **{key: value for key, value in OLD.items() if key != "training"},
        "license": "MIT",
        "homepage": "https://example.org",
    }
    assert list(changed.raw)[-1] == "homepage"
    assert changed.raw["author"] is None, "a null that nobody asked to remove stays"
    assert manifest.raw == OLD
