"""`xpm fuse`, `xpm scales` and `xpm validate --matrix` through the command line."""

import json
import shutil

import pytest

from xpm.errors import NotFoundError, UsageError
from xpm_build.errors import BuildError, EvaluationError
from xpm_build.rows import write_rows
from xpm_runtime import RequestError


@pytest.fixture
def folders(tiny_adapter, tmp_path):
    """Two experts' folders beside each other, in the folder that commands run in."""
    for name, seed in (("expert-a", 1), ("expert-b", 2)):
        shutil.copytree(tiny_adapter("lora", seed).peft, tmp_path / name)
        manifest = {"schema_version": "2.0", "name": name, "version": "0.1.0", "base_models": [{"name": "tiny"}]}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_two_folders_become_one(command, folders, tiny_base):
    arguments = ("fuse", "expert-a", "expert-b", "--base", str(tiny_base.source))
    found = json.loads(command(*arguments, "--error", "0.3", "--scale", "expert-b=0.5", "--json").stdout)
    assert (found["path"], found["ranks_of_parts"]) == ("expert-a-b", [8, 8])
    assert 0 < found["largest_error"] <= 0.3
    parts = json.loads((folders / "expert-a-b/manifest.json").read_text())["fusion"]["parts"]
    assert [each["scale"] for each in parts] == [1.0, 0.5]
    assert isinstance(command(*arguments, code=1), BuildError), "its folder is there already"


def test_what_makes_no_sense_is_refused(command, folders, tiny_base):
    base = ("--base", str(tiny_base.source))
    for arguments, kind in (
        (("fuse", "expert-a", *base), UsageError),
        (("fuse", "expert-a", "expert-none", *base), NotFoundError),
        (("fuse", "expert-a", "expert-b", "--rank", "4", "--error", "0.1", *base), UsageError),
        (("fuse", "expert-a", "expert-b", "--scale", "expert-c=1", *base), UsageError),
        (("fuse", "expert-a", "expert-b", "--scale", "expert-b", *base), SystemExit),
        (("validate", "--matrix", "out", "--experts", "expert-a", *base), UsageError),
        (("validate", "--matrix", "out", "--experts", "expert-a,expert-none", *base), NotFoundError),
        (("validate", "--matrix", "out", "--experts", "expert-a,expert-b", "--no-write", *base), UsageError),
        (("validate", "expert-a", "--fused", "expert-b", *base), UsageError),
    ):
        assert isinstance(command(*arguments, code=1), kind), arguments
    assert sorted(each.name for each in folders.iterdir()) == ["expert-a", "expert-b"]


def test_scales_are_learned_and_used(command, folders, tiny_base):
    for name in ("expert-a", "expert-b"):
        rows = [{"prompt": f"{name} {number}", "completion": "yes"} for number in range(8)]
        for part, own in (("valid", rows[:6]), ("test-rows", rows[6:])):
            write_rows(folders / name / f"data/{part}.jsonl", own)
    base = ("--base", str(tiny_base.source))
    done = command("scales", "expert-a", "expert-b", *base, "--steps", "1")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["expert", "expert-a", "expert-b"]
    assert "all stay at 1" in done.stderr
    assert "-e expert-b --scale expert-b=1" in done.stderr
    found = json.loads((folders / "scales/scales.json").read_text())
    assert list(found["scales"]) == ["expert-a", "expert-b"]
    run = ("run", "hello", "-e", "./expert-a", "-e", "./expert-b", "--max-tokens", "6", *base, "--json")
    at = {
        scale: json.loads(command(*run, "--scale", f"expert-a={scale}").stdout)["text"] for scale in ("1", "0", "0.5")
    }
    assert at["1"] == json.loads(command(*run).stdout)["text"]
    assert at["0"] != at["1"]
    alone = ("run", "hello", "-e", "./expert-b", "--max-tokens", "6", *base, "--json")
    assert at["0"] == json.loads(command(*alone).stdout)["text"]


def test_scales_that_make_no_sense_are_refused(command, folders, tiny_base):
    base = ("--base", str(tiny_base.source))
    run = ("run", "hello", "-e", "./expert-a", "--max-tokens", "2", *base)
    for arguments, kind in (
        (("scales", "expert-a", *base), UsageError),
        (("scales", "expert-a", "expert-none", *base), NotFoundError),
        (("scales", "expert-a", "expert-b", *base), EvaluationError),
        ((*run, "--scale", "expert-b=0.5"), UsageError),
        ((*run, "--scale", "expert-a=101"), RequestError),
        ((*run, "--scale", "expert-a=nan"), SystemExit),
        ((*run, "--scale", "expert-a"), SystemExit),
    ):
        assert isinstance(command(*arguments, code=1), kind), arguments
    assert sorted(each.name for each in folders.iterdir()) == ["expert-a", "expert-b"]
