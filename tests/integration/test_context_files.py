"""``xpm run --context-file``: what bears on the prompt is put in front of it, and told; what is
no text is refused early."""

import json

import pytest

from xpm.operations import context_files

QUESTION = "List the names of users with age over 25."
SCHEMA = "Schema: users(id, name, age)\n"
_OTHER = "".join(f"\n\nThe harbour of town {number} is open from Monday to Friday.\n" * 3 for number in range(40))


@pytest.fixture
def run(command, tmp_path):
    (tmp_path / "schema.md").write_text("# Harbours\n" + _OTHER + "\n# Users\n\n" + SCHEMA + _OTHER)
    return command


def test_what_bears_on_the_prompt_is_shown_and_told(run):
    options = ["--context-file", "schema.md", "--context-tokens", "100", "--max-tokens", "30"]
    done = run("run", *options, "--json", QUESTION)
    found = json.loads(done.stdout)
    context = found["context"]
    assert SCHEMA.strip() in context["text"]
    assert context["num_tokens"] <= context["budget"] == 100
    (document,) = context["documents"]
    assert document["num_kept"] < document["num_passages"]
    assert document["num_left_out_tokens"] > 1000
    assert "schema.md: shown are" in done.stderr
    assert "tokens left out" in done.stderr
    assert found["num_prompt_tokens"] > context["num_tokens"]
    assert run("run", *options, QUESTION).stdout == found["text"] + "\n"


def test_the_budget_is_what_the_context_holds(run):
    done = run("run", "--context-file", "schema.md", "--context", "400", "--max-tokens", "300", "--json", QUESTION)
    found = json.loads(done.stdout)
    assert 150 < found["context"]["budget"] <= 300 - 4
    assert found["num_prompt_tokens"] <= 300


def test_nothing_is_said_where_all_is_shown(run, tmp_path):
    (tmp_path / "short.md").write_text(SCHEMA)
    done = run("run", "--context-file", "short.md", "--json", QUESTION)
    found = json.loads(done.stdout)
    assert found["context"]["text"] == f"short.md:\n{SCHEMA.strip()}"
    assert "left out" not in done.stderr
    assert "context" not in json.loads(run("run", "--json", QUESTION).stdout)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"caf\xe9", "not UTF-8"),
        (b"%PDF\0\1", "is binary"),
        (b"x" * 200, "too large"),
    ],
)
def test_what_is_no_text_is_refused_before_anything_is_loaded(content, message, run, tmp_path, monkeypatch):
    monkeypatch.setattr(context_files, "MAX_BYTES", 150)
    monkeypatch.setattr("xpm.operations.answering.load_engine", lambda *_, **__: pytest.fail("the base was loaded"))
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    error = run("run", "--context-file", "bad.txt", QUESTION, code=2)
    assert message in str(error)
    assert "bad.txt" in str(error)


def test_the_bound_is_of_all_together(run, tmp_path, monkeypatch):
    monkeypatch.setattr(context_files, "MAX_BYTES", 150)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x" * 100)
    assert "b.txt" in str(run("run", "--context-file", "a.txt", "--context-file", "b.txt", QUESTION, code=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context-tokens", "100"], "needs documents"),
        (["--context-file", "schema.md", "--context-tokens", "300", "--context", "300"], "leaves nothing"),
    ],
)
def test_budgets_that_make_no_sense(arguments, message, run):
    assert message in str(run("run", *arguments, QUESTION, code=2))


def test_a_context_that_holds_no_passage(run):
    error = run("run", "--context-file", "schema.md", "--context", "40", "--max-tokens", "30", QUESTION, code=1)
    assert "hold no passage" in str(error)
