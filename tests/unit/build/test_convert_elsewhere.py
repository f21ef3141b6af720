"""A package as an OCI layout and as a folder for the hub, and back: nothing is lost, and nothing
that is damaged comes in."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
from huggingface_hub import ModelCard

from tests.support import models
from xpm_build.adapter.convert import convert
from xpm_build.adapter.oci_layout import ARTIFACT_TYPE, read_layout
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_build.packages import build_expert
from xpm_index.archive import read_files
from xpm_index.errors import ArchiveError, IntegrityError
from xpm_index.keys import SigningKey
from xpm_index.publishing import sign_archive

PATH = "org.cncf.model.filepath"
TAR = "application/vnd.cncf.model.weight.v1.tar"
TOKENS = probe_tokens(models.VOCAB_SIZE, seed=3, count=12)


@pytest.fixture(scope="module")
def package(tiny_base, tiny_adapter, tmp_path_factory):
    """A signed package of an adapter that says what it was trained on, and what licence it has."""
    folder = tmp_path_factory.mktemp("package")
    convert(tiny_adapter("lora").peft, folder / "expert-x", to="expert", base="tiny")
    config = json.loads((folder / "expert-x" / ADAPTER_CONFIG).read_text())
    (folder / "expert-x" / ADAPTER_CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": "acme/tiny"}))
    manifest = json.loads((folder / "expert-x/manifest.json").read_text())
    more = {
        "license": "Apache-2.0",
        "capabilities": ['sql: "joins"'],
        "tags": ["db"],
        "description": "says x",
        "author": "a",
    }
    (folder / "expert-x/manifest.json").write_text(json.dumps(manifest | more))
    (folder / "expert-x/README.md").write_text("# expert-x\n\nAnswers.\n")
    built = build_expert(folder / "expert-x", folder / "dist", base=tiny_base.source)
    sign_archive(built.path, SigningKey.generate(), publisher="acme", created_at="2026-03-01T00:00:00Z")
    return built.path


@pytest.fixture
def layout(package, tmp_path):
    convert(package, tmp_path / "layout", to="oci")
    return tmp_path / "layout"


def document(layout, descriptor):
    return json.loads((layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_text())


def manifest_of(layout):
    (named,) = json.loads((layout / "index.json").read_text())["manifests"]
    return document(layout, named)


def rewrite(layout, change):
    """Change the image's manifest, as whoever makes layouts may write it."""
    manifest = manifest_of(layout)
    change(manifest)
    named = put(layout, json.dumps(manifest).encode())
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


def put(layout, data, **more):
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data), **more}


def test_a_package_comes_back_to_the_byte(package, layout, tmp_path):
    assert convert(layout, tmp_path / "back.expert", to="package") == sorted(read_files(package))
    assert (tmp_path / "back.expert").read_bytes() == package.read_bytes()
    convert(package, tmp_path / "again", to="oci")
    assert manifest_of(tmp_path / "again") == manifest_of(layout)


def test_a_layout_says_what_is_in_it(package, layout):
    manifest = manifest_of(layout)
    assert (manifest["schemaVersion"], manifest["artifactType"]) == (2, ARTIFACT_TYPE)
    kinds = {each["annotations"][PATH]: each["mediaType"] for each in manifest["layers"]}
    assert kinds.keys() == read_files(package).keys()
    assert kinds[ADAPTER_WEIGHTS] == "application/vnd.cncf.model.weight.v1.raw"
    assert kinds["README.md"] == "application/vnd.cncf.model.doc.v1.raw"
    assert kinds["manifest.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    config = document(layout, manifest["config"])
    assert config["descriptor"] == {
        "name": "expert-x",
        "version": "0.1.0",
        "description": "says x",
        "authors": ["a"],
        "licenses": ["Apache-2.0"],
    }
    assert config["modelfs"] == {"type": "layers", "diffIds": [each["digest"] for each in manifest["layers"]]}


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_skopeo_copies_it(package, layout, tmp_path):
    copy = ["skopeo", "copy", f"oci:{layout}:0.1.0", f"oci:{tmp_path / 'copied'}:any"]
    subprocess.run(copy, check=True, capture_output=True)
    convert(tmp_path / "copied", tmp_path / "back.expert", to="package")
    assert (tmp_path / "back.expert").read_bytes() == package.read_bytes()


def test_an_adapter_in_tars(layout, tmp_path, tiny_base, tiny_adapter):
    """As other tools pack models: a tar for each file, and no manifest of ours."""
    peft = tiny_adapter("lora").peft

    def packed(name):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(peft / name, arcname=name)
        return put(layout, stream.getvalue(), mediaType=TAR)

    layers = [packed(ADAPTER_CONFIG), packed(ADAPTER_WEIGHTS)]
    rewrite(layout, lambda manifest: manifest.update(layers=layers))
    convert(layout, tmp_path / "expert-y", to="expert", base="tiny")
    assert (tmp_path / "expert-y" / ADAPTER_WEIGHTS).read_bytes() == (peft / ADAPTER_WEIGHTS).read_bytes()
    with pytest.raises(BuildError, match=r"holds no manifest\.json"):
        convert(layout, tmp_path / "y.expert", to="package")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.update(artifactType="application/x"), BuildError, "holds no model"),
        (lambda m: m["layers"][0].update(mediaType=f"{TAR}+gzip"), BuildError, "is not read"),
        (lambda m: m["layers"][0].update(annotations={}), BuildError, "filepath is missing"),
        (lambda m: m["layers"][0]["annotations"].update({PATH: "../x"}), ArchiveError, "leaves the package"),
        (lambda m: m["layers"][0]["annotations"].update({PATH: "/x"}), ArchiveError, "leaves the package"),
        (lambda m: m["layers"].append(m["layers"][0]), ArchiveError, "is there twice"),
        (lambda m: m["layers"][0].update(size=1 << 50), ArchiveError, "has 1,125,899"),
        (lambda m: m["layers"][0].update(size=-2), ArchiveError, "has -2 bytes"),
        (lambda m: m["layers"][0].update(size=1), IntegrityError, "not what its name says"),
        (lambda m: m["layers"][0].update(digest="sha256:" + "0" * 64), BuildError, "can't be read"),
        (lambda m: m["layers"][0].update(digest="sha256:../../../x"), BuildError, "is no SHA-256"),
        (lambda m: m["layers"][0].update(mediaType=TAR), BuildError, "is no tar"),
        (lambda m: m.update(layers="x"), BuildError, "must be an array"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_layout(layout, tmp_path, change, error, message):
    rewrite(layout, change)
    with pytest.raises(error, match=message):
        convert(layout, tmp_path / "back.expert", to="package")
    assert not (tmp_path / "back.expert").exists()


def test_what_is_no_plain_file_in_a_tar(layout, tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo(ADAPTER_WEIGHTS)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    layer = put(layout, stream.getvalue(), mediaType=TAR)
    rewrite(layout, lambda manifest: manifest.update(layers=[layer]))
    with pytest.raises(ArchiveError, match="is not a plain file"):
        read_layout(layout)


def test_a_damaged_blob(layout, tmp_path):
    blob = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(IntegrityError, match="not what its name says"):
        convert(layout, tmp_path / "back.expert", to="package")


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"imageLayoutVersion": "2"}', '{"manifests": [{}, {}]}'])
def test_a_layout_that_is_none(layout, tmp_path, name, text):
    (layout / name).write_text(text)
    with pytest.raises(BuildError):
        convert(layout, tmp_path / "back.expert", to="package")


def test_a_folder_is_no_package(tiny_adapter, tmp_path):
    for to in ("oci", "package"):
        with pytest.raises(BuildError, match="is a folder, not a package"):
            convert(tiny_adapter("lora").peft, tmp_path / "out", to=to)


def test_a_folder_for_the_hub(package, tiny_base, tiny_adapter, tmp_path):
    from peft import PeftModel

    convert(package, tmp_path / "hub", to="hf")
    card = ModelCard.load(tmp_path / "hub/README.md")
    assert card.data.to_dict() == {
        "base_model": "acme/tiny",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "tags": ["xpm", 'sql: "joins"', "db"],
    }
    assert card.text.strip() == "# expert-x\n\nAnswers."
    model = models.load(tiny_base.source)
    got = reference_logits(PeftModel.from_pretrained(model, str(tmp_path / "hub")).eval(), TOKENS)
    peft = PeftModel.from_pretrained(models.load(tiny_base.source), str(tiny_adapter("lora").peft)).eval()
    assert np.array_equal(got, reference_logits(peft, TOKENS))
    convert(tmp_path / "hub", tmp_path / "expert-x", to="expert")
    assert json.loads((tmp_path / "expert-x/manifest.json").read_text())["license"] == "Apache-2.0"
    convert(tmp_path / "hub", tmp_path / "hub-2", to="hf")
    assert (tmp_path / "hub-2/README.md").read_bytes() == (tmp_path / "hub/README.md").read_bytes()


def test_the_licence_of_a_card_comes_into_a_new_manifest(tiny_adapter, tmp_path):
    shutil.copytree(tiny_adapter("lora").peft, tmp_path / "peft")
    (tmp_path / "peft/README.md").write_text("---\nlicense: mit\n---\n# x\n")
    convert(tmp_path / "peft", tmp_path / "expert-z", to="expert", base="tiny")
    assert json.loads((tmp_path / "expert-z/manifest.json").read_text())["license"] == "mit"
