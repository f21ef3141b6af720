"""``xpm run``: where the prompt comes from, what it runs on, and that nothing asked for is too much for the machine."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support import models
from xpm.cli.answering import THREADS_PER_CORE
from xpm.engine import open_engine
from xpm.errors import NotFoundError
from xpm.project import EMBEDDED_EXPERTS, Project
from xpm_build.packages import build_base, build_expert
from xpm_runtime.native import library

QUESTION = "List the names of users with age over 25. Schema: users(id, name, age)"
ANSWER = "SELECT name FROM users WHERE age > 25;"


@pytest.fixture
def run(command):
    return command


def test_the_prompt_comes_from_anywhere(run, tmp_path):
    (tmp_path / "prompt.txt").write_text(QUESTION + "\n")
    for answer in (
        run("run", QUESTION),
        run("run", stdin=QUESTION),
        run("run", "-", stdin=QUESTION),
        run("run", "--prompt-file", "prompt.txt"),
    ):
        assert answer.stdout == ANSWER + "\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["--prompt-file", "prompt.txt", "x"], None, "given twice"),
        (["--prompt-file", "latin.txt"], None, "not UTF-8"),
        ([], b"caf\xe9", "not UTF-8"),
        (["caf\udce9"], None, "not UTF-8"),
        ([], "  \n", "is empty"),
        (["--base", "xpm-tiny", "x"], None, "is no path"),
    ],
)
def test_a_prompt_that_is_none(arguments, stdin, message, run, tmp_path):
    (tmp_path / "prompt.txt").write_text("x")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    error = run("run", *arguments, stdin=stdin, code=2)
    assert message in str(error)
    assert error.exit_code == 2


def test_bytes_that_are_no_text_on_the_command_line(home):
    command = [os.fsencode(sys.executable), b"-m", b"xpm", b"run", b"caf\xe9"]
    done = subprocess.run(command, env={**os.environ, "XPM_HOME": str(home)}, capture_output=True)
    assert done.returncode == 2
    assert b"not UTF-8" in done.stderr


def test_threads_are_bounded_by_the_machines_cores(run):
    done = run("run", "--threads", "100000", QUESTION)
    assert done.stdout == ANSWER + "\n"
    assert f"running with {THREADS_PER_CORE * os.cpu_count()}" in done.stderr


def test_a_context_that_is_too_small_is_told(run):
    assert "tokens" in f"{run('run', '--context', '8', QUESTION, code=1)}"
    assert run("run", "--context", "200", QUESTION).stdout == ANSWER + "\n"


def test_path_and_engine(run, tmp_path):
    Project(wants=EMBEDDED_EXPERTS).save(tmp_path)
    folder = run("path", "sql").stdout.strip()
    assert (tmp_path / folder / "slots.safetensors").is_file()
    assert "did you mean expert-sql" in run("path", "expert-sq", code=1).hint
    (tmp_path / "below").mkdir()
    with open_engine(tmp_path / "below", max_lanes=1, threads=1) as engine:  # the nearest project upwards
        assert set(engine.attached) == set(EMBEDDED_EXPERTS)
        assert engine.generate(QUESTION, experts=["expert-sql"]).text == ANSWER


def test_other_words_for_install_and_uninstall(run, tmp_path):
    Project().save(tmp_path)
    run("add", "expert-json")
    assert Project.read(tmp_path).experts.keys() == {"expert-json"}
    run("remove", "json")
    assert Project.read(tmp_path).wants == {}


@pytest.fixture(scope="module")
def built(tiny_base, tiny_adapter, tmp_path_factory):
    """A folder with a base's files, an adapter as PEFT saved it, the same as an expert's file and
    as its answer to a prompt."""
    folder = tmp_path_factory.mktemp("built")
    build_base(tiny_base.source, folder / "dist", name="tiny", version="1.0.0", variants=("source", "fp32", "int8"))
    shutil.copytree(tiny_adapter("lora").peft, folder / "adapter")
    shutil.copytree(tiny_adapter("lora").peft, folder / "expert-x")
    document = {
        "name": "expert-x",
        "version": "0.1.0",
        "base_models": [{"name": "tiny"}],
        "decoding": {"max_tokens": 5},
    }
    (folder / "expert-x/manifest.json").write_text(json.dumps(document))
    build_expert(folder / "expert-x", folder / "dist", base=tiny_base.source)
    return folder


def answer(run, base, *experts):
    named = [part for each in experts for part in ("--expert", str(each))]
    arguments = ["--base", str(base), *named, "--max-tokens", "12", "--json", "x"]
    return json.loads(run("run", *arguments).stdout)


def test_what_is_named_by_its_path_needs_no_index(built, tiny_base, run):
    base = built / "dist/tiny-fp32.v1.0.0.base"
    alone = answer(run, base)
    assert (alone["base"], alone["experts"]) == ("tiny 1.0.0, fp32", [])
    packed = answer(run, base, built / "dist/expert-x-tiny.v0.1.0.expert")
    assert (packed["experts"], packed["text"] != alone["text"]) == (["expert-x"], True)
    assert answer(run, base, built / "expert-x")["text"] == packed["text"]  # compiled from the source beside it
    assert answer(run, tiny_base.source, built / "adapter")["text"] == packed["text"]
    assert answer(run, tiny_base.graph)["text"] == alone["text"]
    both = answer(run, base, built / "adapter", built / "dist/expert-x-tiny.v0.1.0.expert")
    assert both["experts"] == ["adapter", "expert-x"]


@pytest.mark.skipif(library() is None, reason="this machine can't run the native kernels")
def test_keys_and_values_in_fewer_bits_and_within_a_window(built, run):
    base = next((built / "dist").glob("tiny-int8*.base"))
    asked = ["run", "--base", str(base), "--no-expert", "--max-tokens", "4", "--json", "x"]
    assert json.loads(run(*asked).stdout)["cache"] is None
    told = json.loads(run(*asked, "--kv-cache", "int8", "--window", "64").stdout)
    assert told["cache"] == "int8, window 64, sinks 4"
    assert "cache k8v4" in run(*asked[:-2], "--stats", "--kv-cache", "k8v4", "x").stderr
    assert "the window is 8 tokens" in f"{run(*asked, '--window', '8', code=1)}"
    assert "without a window" in f"{run(*asked, '--sinks', '8', code=1)}"


def test_a_base_that_can_not_keep_its_cache_otherwise_says_so(run):
    assert "the portable graph keeps all keys and values" in f"{run('run', '--kv-cache', 'int8', QUESTION, code=1)}"


@pytest.mark.parametrize(
    ("base", "expert", "message"),
    [
        ("dist/none.base", "adapter", "there is no"),
        ("adapter", "adapter", "holds no base"),
        ("dist/expert-x-tiny.v0.1.0.expert", "adapter", "package of kind expert"),
        ("dist/tiny-fp32.v1.0.0.base", "dist", "holds no expert"),
        ("dist/tiny-fp32.v1.0.0.base", "dist/tiny-int8.v1.0.0.base", "package of kind base"),
    ],
)
def test_a_path_to_something_else(base, expert, message, built, run):
    error = run("run", "--base", str(built / base), "--expert", str(built / expert), "x", code=2)
    assert message in str(error)
    assert error.hint


def test_a_bases_file_is_installed_without_an_index(built, tmp_path, run):
    shutil.copytree(built / "dist", tmp_path / "dist")
    base, expert = "./dist/tiny-fp32.v1.0.0.base", "./dist/expert-x-tiny.v0.1.0.expert"
    run("init")
    assert "is not signed" in str(run("install", base, code=5))
    public = json.loads(run("key", "new", "acme", "--json").stdout)["public"]
    for archive in (base, expert):
        run("sign", archive, "--key", "acme")
    assert "nobody knows key" in str(run("install", base, code=5))
    before = (tmp_path / "xpm.toml").read_text()
    run("install", base, "--key", public, "--dry-run")
    assert (tmp_path / "xpm.toml").read_text() == before
    run("install", base, expert, "--key", public)
    assert 'archive = "dist/tiny-fp32.v1.0.0.base"' in (tmp_path / "xpm.toml").read_text()
    listed = json.loads(run("list", "--json").stdout)
    assert "tiny" in json.dumps(listed)
    assert (
        json.loads(run("run", "--expert", "x", "--json", "--max-tokens", "4", "x").stdout)["base"] == "tiny 1.0.0, fp32"
    )
    run("sync", "--locked")
    run("verify")
    run("uninstall", "x")
    run("update")
    run("base", "remove")
    assert "archive" not in (tmp_path / "xpm.toml").read_text()
    assert json.loads(run("list", "--json").stdout) != listed


def test_another_key_than_the_pinned_one_is_refused_for_a_base_too(built, tmp_path, run):
    shutil.copytree(built / "dist", tmp_path / "dist")
    base = "./dist/tiny-fp32.v1.0.0.base"
    run("init")
    keys = [json.loads(run("key", "new", name, "--json").stdout)["public"] for name in ("first", "second")]
    run("sign", base, "--key", "first")
    run("install", base, "--key", keys[0])
    shutil.copy(built / "dist/tiny-fp32.v1.0.0.base", tmp_path / "dist")
    run("sign", base, "--key", "second")
    assert "another key than before" in str(run("install", base, code=5))


def test_an_adapter_needs_the_bases_source(built, tmp_path, run):
    shutil.copy(built / "dist/tiny-fp32.v1.0.0.base", tmp_path)
    error = run("run", "--base", "./tiny-fp32.v1.0.0.base", "--expert", str(built / "adapter"), "x", code=1)
    assert isinstance(error, NotFoundError)
    assert "tiny-source.v1.0.0.base" in str(error)


def test_an_adapter_on_another_base_is_refused(built, tmp_path, run):
    other = models.save_tiny_model(tmp_path / "other", seed=7)
    expert = built / "dist/expert-x-tiny.v0.1.0.expert"
    assert "was made for another base" in str(run("run", "--base", str(other), "--expert", str(expert), "x", code=4))


def test_a_grammar_is_a_file_or_built_in(run, tmp_path):
    (tmp_path / "person.json").write_text(
        '{"type": "object", "properties": {"name": {"enum": ["Ann", "Bob"]}}, "additionalProperties": false}'
    )
    (tmp_path / "word.regex").write_text("[a-c]{3}\n")
    assert run("run", "--grammar", "sql", QUESTION).stdout == ANSWER + "\n"
    assert json.loads(run("run", "--json-schema", "person.json", "--no-expert", "Who?").stdout).keys() <= {"name"}
    assert re.fullmatch("[abc]{3}\n", run("run", "--grammar", "word.regex", "--no-expert", "Who?").stdout)
    for arguments, message in (
        (["--grammar", "a.gbnf", "--no-grammar"], "contradict each other"),
        (["--grammar", "a.txt"], "does not say what kind"),
        (["--grammar", "a.gbnf"], "can't be read"),
    ):
        assert message in run("run", "Who?", *arguments, code=1).message


def test_what_destroys_and_what_is_cut_is_marked(run):
    answer = run("run", "--grammar", "sql", "Delete the users with age over 25. Schema: users(id, name, age)")
    assert answer.stdout.startswith("DELETE FROM users WHERE ")
    assert "warning: run as it is, this deletes data" in answer.stderr
    whole = run("run", "--json", "--grammar", "sql", QUESTION)
    assert json.loads(whole.stdout)["missing"] is None
    cut = run("run", "--json", "--stop", " name", "--grammar", "sql", QUESTION)
    assert json.loads(cut.stdout)["text"] == "SELECT"
    assert json.loads(cut.stdout)["missing"]
    assert "warning: the answer is not complete: it lacks" in cut.stderr


def test_the_likeliest_answers_of_a_beam_search(run):
    told = json.loads(run("run", "--num-beams", "3", "--n", "2", "--json", QUESTION).stdout)
    assert [each["text"] == ANSWER for each in told["answers"]] == [True, False]
    assert run("run", "--num-beams", "3", QUESTION).stdout == ANSWER + "\n"
    assert "at most 3 answers" in str(run("run", "--num-beams", "3", "--n", "4", QUESTION, code=2))
    assert "temperature must be 0" in str(run("run", "--num-beams", "3", "--temperature", "1", QUESTION, code=1))
