"""The rules of publishing: each finds what it is for, and nothing in a package as it ought to be."""

import numpy as np
import pytest
from safetensors.numpy import save

from tests.support.packages import make_manifest
from xpm_build.publish_scan import PACKED, RULES, RefusedPackage, names_like, require_safe, scan

README = "# expert-sql\n\n```prompt\nask\n```\n\n```sql\nSELECT 1;\n```\n"
GOOD = {"README.md": README.encode(), "slots.safetensors": save({"a.lora": np.ones((2, 3), np.float32)})}
KEY = "-----BEGIN " + "OPENSSH PRIVATE KEY-----"


def rules_found(tmp_path, files, manifest=None, **more):
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [each.rule for each in scan(tmp_path, manifest or make_manifest(license="MIT"), **more)]


def test_in_a_good_package_nothing_is_found(tmp_path):
    assert rules_found(tmp_path, GOOD) == []


def tensors(**arrays):
    return {"slots.safetensors": save(arrays)}


BAD = {
    "pickle": ({"adapter_model.bin": b"\x80\x04"}, "file-kind"),
    "code": ({"setup.py": b"import os"}, "file-kind"),
    "in a folder": ({"inner/x.pt": b"x"}, "file-kind"),
    "no safetensors": ({"slots.safetensors": b"x"}, "tensor-file"),
    "cut off": ({"slots.safetensors": GOOD["slots.safetensors"][:-4]}, "tensor-file"),
    "header of another length": ({"slots.safetensors": b"\xff" * 8 + b"{}"}, "tensor-file"),
    "path as a name": (tensors(**{"../../x": np.ones(1, np.float32)}), "tensor-name"),
    "line break in a name": (tensors(**{"a\nb": np.ones(1, np.float32)}), "tensor-name"),
    "empty": (tensors(a=np.ones((0, 3), np.float32)), "tensor-shape"),
    "many dimensions": (tensors(a=np.ones((1,) * 9, np.float32)), "tensor-shape"),
    "NaN": (tensors(a=np.array([1, np.nan], np.float32)), "tensor-finite"),
    "infinite": (tensors(a=np.array([1, -np.inf], np.float16)), "tensor-finite"),
    "private key": ({"README.md": README.encode() + KEY.encode()}, "secret"),
    "xpm's key": ({"notes.json": b'{"format": "xpm-key-1"}'}, "secret"),
    "token": ({"notes.txt": b"hf_" + b"a" * 34}, "secret"),
    "login": ({"notes.txt": b"https://me:hunter2@example.org/x"}, "secret"),
    "no README": ({"README.md": None}, "readme-missing"),
    "README without an example": ({"README.md": b"# x\n"}, "readme-examples"),
}


@pytest.mark.parametrize(("files", "rule"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_found_by_its_rule(files, rule, tmp_path):
    wanted = {name: data for name, data in {**GOOD, **files}.items() if data is not None}
    assert rules_found(tmp_path, wanted) == [rule]


def test_a_grammar_that_does_not_compile_is_found(tmp_path):
    manifest = make_manifest(license="MIT", decoding={"use_grammar": True, "grammar_file": "g.gbnf"})
    assert rules_found(tmp_path, {**GOOD, "g.gbnf": b"root ::= ((("}, manifest) == ["grammar"]
    assert rules_found(tmp_path, {"g.gbnf": b'root ::= "a"'}, manifest) == []


def test_a_missing_licence_is_found(tmp_path):
    assert rules_found(tmp_path, GOOD, make_manifest()) == ["license-missing"]


@pytest.mark.parametrize("other", ["expert-sq1", "sq-l", "sql", "expert-sqll"])
def test_a_name_that_can_be_taken_for_another_is_found(other, tmp_path):
    assert names_like("expert-sql", [other, "expert-chess"]) == [other] or other == "expert-sqll"
    if other != "expert-sqll":
        assert rules_found(tmp_path, GOOD, others=[other]) == ["name-close"]


def test_of_a_folder_only_what_would_be_packed_is_looked_at(tmp_path):
    assert rules_found(tmp_path, {**GOOD, "train.py": b"x", "data/notes.txt": KEY.encode()}, patterns=PACKED) == []


def test_errors_keep_a_package_from_being_published_and_name_their_rules(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(RefusedPackage) as error:
        require_safe(scan(tmp_path, make_manifest()), "x.expert")
    assert "[file-kind] x.pkl" in error.value.context
    assert "readme-missing" not in error.value.context


def test_the_secret_itself_is_not_repeated(tmp_path):
    (tmp_path / "notes.txt").write_text("hf_" + "Z" * 34)
    (finding,) = [each for each in scan(tmp_path, make_manifest()) if each.rule == "secret"]
    assert "ZZ" not in str(finding.to_dict())
    assert finding.where == "notes.txt:1"


def test_every_rule_says_what_to_do():
    assert all(rule.reason and rule.remedy for rule in RULES.values())
