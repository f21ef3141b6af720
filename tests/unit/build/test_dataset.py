"""Data sets: what comes in, what is wrong with it, what is there twice, and that nothing leaks
from a test part to training."""

import csv
import datetime
import json
from collections import Counter

import click.testing
import datasets
import pyarrow
import pyarrow.parquet
import pytest

from xpm.cli.main import cli
from xpm_build.dataset.importing import import_rows
from xpm_build.dataset.quality import (
    cleaned,
    draw_statistics,
    exact_duplicates,
    filter_of,
    near_duplicates,
    statistics_of,
    validate_rows,
)
from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import TRAIN, VALID, circle_file, split_rows
from xpm_build.domains import DOMAINS, draw_cases
from xpm_build.errors import DatasetError
from xpm_build.prompts import conversation as conversation_of
from xpm_build.rows import completion_of, normalised, problems_of, prompt_of, read_rows, write_rows

MANIFEST = {"name": "expert-x", "version": "0.1.0", "base_models": [{"name": "b"}]}


def settings(**dataset):
    return dataset_settings({"training": {"dataset": dataset}})


def cases(name, count):
    drawn = draw_cases(DOMAINS[name], 1, num_schemas=count // 4)
    return [next(drawn).to_row() for _ in range(count)]


@pytest.mark.parametrize(
    ("raw", "prompt", "completion"),
    [
        ({"instruction": "Add", "input": "1 2", "output": "3"}, "Add\n\n1 2", "3"),
        ({"instruction": "Add", "input": "", "output": "3"}, "Add", "3"),
        (
            {"question": "How many?", "context": "CREATE TABLE t", "answer": "SELECT"},
            "How many?\n\nCREATE TABLE t",
            "SELECT",
        ),
        ({"sql_prompt": "How many?", "sql": "SELECT"}, "How many?", "SELECT"),
        ({"question": "Who?", "schema": "(:A)", "cypher": "MATCH"}, "Who?\n\n(:A)", "MATCH"),
        ({"text": "How many?", "sql": "SELECT"}, "How many?", "SELECT"),
        ({"prompt": "a", "completion": "b", "family": "x"}, "a", "b"),
    ],
)
def test_fields_are_found(raw, prompt, completion):
    row = normalised(raw, {}, where="here")
    assert (row["prompt"], row["completion"]) == (prompt, completion)
    assert row.get("family") == raw.get("family")


@pytest.mark.parametrize(
    ("raw", "mapping", "row"),
    [
        ({"prompt": "a", "completion": {"é": True}}, {}, {"prompt": "a", "completion": '{"é": true}'}),
        ({"prompt": "a", "completion": [None]}, {}, {"prompt": "a", "completion": "[null]"}),
        ({"text": "a", "label": 0}, {"completion": "label"}, {"prompt": "a", "completion": "0"}),
        ({"prompt": 0, "completion": "b", "context": ""}, {}, {"prompt": "0", "completion": "b", "context": ""}),
        ({"chat": [1], "prompt": "a"}, {"messages": "chat"}, {"messages": [1]}),
        ({"story": "a", "kind": "b"}, {"text": "story", "family": "kind"}, {"text": "a", "family": "b"}),
        (
            {"q": "a", "a": "b", "schema_id": 7, "family": "c"},
            {"prompt": "q", "completion": "a", "group": "schema_id"},
            {"prompt": "a", "completion": "b", "group": 7, "family": "c"},
        ),
        ({"messages": None, "prompt": "a", "completion": "b"}, {}, {"prompt": "a", "completion": "b"}),
        ({"q": "a", "a": "b", "messages": [3]}, {"prompt": "q", "completion": "a"}, {"prompt": "a", "completion": "b"}),
        ({"text": "a", "group": "x"}, {}, {"text": "a", "group": "x"}),
    ],
)
def test_values_that_are_no_plain_texts(raw, mapping, row):
    assert normalised(raw, mapping, where="here") == row


def test_other_forms_are_kept():
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert normalised({"messages": messages}, {}, where="")["messages"] == messages
    preference = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert normalised(preference, {}, where="") == preference
    assert normalised({"text": "a story"}, {}, where="") == {"text": "a story"}
    assert normalised({"q": "a", "a": "b"}, {"prompt": "q", "completion": "a"}, where="") == {
        "prompt": "a",
        "completion": "b",
    }


@pytest.mark.parametrize(
    ("raw", "mapping", "message"),
    [
        ({"x": 1}, {}, "no prompt and completion"),
        ({"x": 1}, {"prompt": "y"}, "no field 'y'"),
        ({"prompt": "a"}, {}, "no prompt and completion"),
        ({"prompt": "a", "x": None, "answer": "b"}, {"completion": "x"}, "no prompt and completion"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(raw, mapping, message):
    with pytest.raises(DatasetError, match=message):
        normalised(raw, mapping, where="data.csv, row 7")


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "semicolons", "parquet", "folder"])
def test_import(form, tmp_path):
    rows = [{"question": f"What, then, is {n}?", "answer": f'{n}; "quoted"\nand more'} for n in range(20)]
    if form == "jsonl":
        source = tmp_path / "a.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    elif form == "json":
        source = tmp_path / "a.json"
        source.write_text(json.dumps({"data": rows}))
    elif form in ("csv", "semicolons"):
        source = tmp_path / "a.csv"
        with source.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["question", "answer"], delimiter="," if form == "csv" else ";")
            writer.writeheader()
            writer.writerows(rows)
    elif form == "parquet":
        source = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    else:
        source = tmp_path / "saved"
        datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(source)
    found = list(import_rows(str(source)))
    assert found == [{"prompt": row["question"], "completion": row["answer"]} for row in rows]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": ', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 must be an object"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "3", "must hold an array"),
        ("a.csv", "prompt,completion\na,b,c\n", "another number of fields"),
        ("a.parquet", "no", "is not Parquet"),
        ("a.xyz", "no", "form of .* is not known"),
        ("a.jsonl", '{"x": 1}\n', "row 1: no prompt and completion"),
        ("a.jsonl", '{"text": "a"}\n{"text": "é"}'.encode("latin-1"), "line 2 is not UTF-8"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.csv", "prompt,completion\né,b\n".encode("latin-1"), "is not UTF-8"),
        ("a.csv", "prompt,completion\na," + "b" * (17 << 20), "is not CSV"),
    ],
)
def test_sources_that_are_malformed(name, text, message, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=message):
        list(import_rows(str(tmp_path / name), form="" if not name.endswith("xyz") else "odd"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "question,answer\nWhose?,\"SELECT 'a', 'b;c' FROM t\"\n"),
        ("a.csv", "\"question\";\"answer, in SQL\"\nWhose?;SELECT 'a', 'b' FROM t\n"),
        ("a.tsv", "question\tanswer\nWhose?\tSELECT 'a', 'b' FROM t\n"),
    ],
)
def test_the_header_says_what_parts_the_fields(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    (row,) = import_rows(str(tmp_path / name), mapping={"completion": "answer, in SQL"} if ';"' in text else {})
    assert row["prompt"] == "Whose?"
    assert row["completion"].startswith("SELECT 'a', 'b")


def test_what_json_cannot_hold(tmp_path):
    dated = pyarrow.Table.from_pylist([{"prompt": "a", "completion": "b", "day": datetime.datetime(2026, 1, 2)}])
    pyarrow.parquet.write_table(dated, tmp_path / "a.parquet")
    write_rows(tmp_path / "a.jsonl", import_rows(str(tmp_path / "a.parquet")))
    assert [row["day"] for row in read_rows(tmp_path / "a.jsonl")] == ["2026-01-02 00:00:00"]
    with pytest.raises(DatasetError, match="row 2 cannot be written"):
        write_rows(tmp_path / "b.jsonl", [{"text": "a"}, {"text": "\ud83d"}])


def test_a_missing_source(tmp_path):
    with pytest.raises(DatasetError, match="cannot be loaded"):
        list(import_rows(str(tmp_path / "nothing")))


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "data.jsonl"
    write_rows(path, [{"text": "before"}])

    def failing():
        yield {"text": "after"}
        raise DatasetError("no more")

    with pytest.raises(DatasetError):
        write_rows(path, failing())
    assert list(read_rows(path)) == [{"text": "before"}]
    assert [each.name for each in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a", "completion": "b"}, None),
        ({"prompt": " ", "completion": "b"}, "prompt must be"),
        ({"prompt": "a", "completion": 3}, "completion must be"),
        ({"messages": [{"role": "user", "content": "a"}]}, "at least two"),
        ({"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}, "last message"),
        ({"question": "a"}, "neither"),
    ],
)
def test_forms(row, problem):
    assert problems_of(row) == [] if problem is None else problem in problems_of(row)[0]


@pytest.mark.parametrize(
    ("language", "good", "bad"),
    [
        ("json", '{"a": 1}', "{'a': 1}"),
        ("sql", "SELECT a FROM t WHERE b > 3;", "SELECT FROM WHERE"),
        ("neo4j", "MATCH (a:Order) RETURN a.limit", "MATCH (a:Order RETURN a"),
        ("python", "def f(x):\n    return x", "def f(x) return x"),
        ("typescript", "const a: number = 3;", "const a: = 3;"),
        ("rust", "fn f() -> i64 { 3 }", "fn f( -> i64 { 3 }"),
    ],
)
def test_completions_are_parsed(language, good, bad):
    rows = [{"prompt": "a", "completion": text} for text in (good, bad, good)]
    problems = validate_rows(rows, language)
    assert [problem.row for problem in problems] == [2]
    assert f"the completion is not {language}" in problems[0].reason
    assert validate_rows(rows) == []


def test_json_is_held_against_its_schema():
    row = {"prompt": "a", "completion": '{"a": "x"}', "check": {"schema": {"properties": {"a": {"type": "integer"}}}}}
    assert "does not fit its schema" in validate_rows([row], "json")[0].reason


@pytest.mark.parametrize("schema", [{"$ref": "http://127.0.0.1:9/a.json"}, {"$ref": "#/nowhere"}, {"type": 3}, 3])
def test_a_schema_that_cannot_be_followed_is_a_problem(schema):
    row = {"prompt": "a", "completion": "1", "check": {"schema": schema}}
    assert "schema" in validate_rows([row], "json")[0].reason


@pytest.mark.parametrize(
    ("language", "text"), [("json", "[" * 100_000), ("python", "(" * 100_000), ("sql", "(" * 9_000)]
)
def test_what_is_nested_too_deeply_is_a_problem(language, text):
    assert len(validate_rows([{"prompt": "a", "completion": text}], language)) == 1


def test_messages_beside_another_form_are_not_read():
    row = {"prompt": "a", "completion": "b", "messages": None}
    assert problems_of(row) == []
    assert conversation_of(row) == [{"role": "user", "content": "a"}]
    assert (prompt_of(row), completion_of(row)) == ("a", "b")


def test_duplicates():
    rows = [
        {"prompt": "List the names of all users, please", "completion": "SELECT name FROM users"},
        {"prompt": "list the  names of all users, please", "completion": "SELECT name FROM users"},
        {"prompt": "List the names of all the users, please", "completion": "SELECT name FROM users"},
        {"prompt": "Delete everything older than a year", "completion": "DELETE FROM users"},
    ]
    assert exact_duplicates(rows) == {1}
    assert near_duplicates(rows, 0.7) == {1, 2}
    assert near_duplicates(rows, 0.99) == {1}


def conversation(*turns):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]}


def test_conversations_are_told_apart_by_all_their_turns(tmp_path):
    rows = [conversation(f"{number} " * 40, "yes", "continue", "no") for number in range(20)]
    assert exact_duplicates([*rows, rows[0]]) == {20}
    assert near_duplicates([*rows, rows[0]], 0.9) == {20}
    report = split_rows(rows, settings(split={"valid": 0.1, "test": 0.1}).split, tmp_path)
    assert sum(report.counts.values()) == 20


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": "b" * 9},
        conversation("abcd", "efghij"),
        {"text": "a" * 10},
        {"prompt": "a", "chosen": "bbbb", "rejected": "ccccc"},
    ],
)
def test_what_is_too_long_is_dropped_and_counted(row):
    assert cleaned([row, row], max_characters=10) == ([row], {"equal": 1, "nearly equal": 0, "too long": 0})
    assert cleaned([row], max_characters=9) == ([], {"equal": 0, "nearly equal": 0, "too long": 1})


def run(*arguments):
    return click.testing.CliRunner().invoke(cli, ["dataset", *map(str, arguments)])


def test_a_mapping_of_what_no_row_has_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "x.jsonl").write_text("")
    done = run("import", tmp_path / "x.jsonl", "--folder", tmp_path, "--map", "promt=q")
    assert "is not KEY=FIELD" in str(done.exception)


@pytest.mark.parametrize("messages", [None, [], [3]])
@pytest.mark.parametrize("command", ["stats", "dedup", "split"])
def test_rows_that_are_not_sound_are_named(command, messages, tmp_path):
    data = tmp_path / "data" / "dataset.jsonl"
    write_rows(data, [{"text": "a"}, {"messages": messages}])
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    done = run(command, tmp_path if command == "split" else data)
    assert isinstance(done.exception, DatasetError)
    assert str(done.exception).startswith(f"{data}, line 2: messages must be")
    assert run("filter", data, "--where", "completion_length>0").exception is None
    assert list(read_rows(data)) == [{"text": "a"}]


def test_split_says_what_it_dropped(tmp_path):
    long = [{"prompt": "a" * 99, "completion": "b"}]
    rows = [{"prompt": f"Who is {number}?", "completion": "a"} for number in range(50)]
    write_rows(tmp_path / "data" / "dataset.jsonl", [*rows, *rows[:3], *long, {**rows[0], "completion": "b"}])
    dataset = {"preprocessing": {"max_characters": 99}}
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, "training": {"dataset": dataset}}))
    assert "dropped 3 equal, 1 too long, 1 same prompt" in run("split", tmp_path).output


def test_a_split_does_not_write_over_its_data(tmp_path):
    data = tmp_path / "data" / "train.jsonl"
    write_rows(data, cases("sql", 40))
    before = data.read_bytes()
    (tmp_path / "manifest.json").write_text(
        json.dumps({**MANIFEST, "training": {"dataset": {"path": "data/train.jsonl"}}})
    )
    assert "which the split would overwrite" in str(run("split", tmp_path).exception)
    assert [each.name for each in data.parent.iterdir()] == ["train.jsonl"]
    assert data.read_bytes() == before


def test_execution_says_what_it_did_not_run(tmp_path):
    rows = cases("sql", 4)
    write_rows(tmp_path / "a.jsonl", [*rows, {"prompt": "a", "completion": "SELECT 1"}, conversation("a", "SELECT 2")])
    done = run("validate", "--execute", "--language", "sql", tmp_path / "a.jsonl")
    assert "2 of 6 rows were not run" in done.output
    assert "6 rows, none with a problem" in done.output
    assert "no answer was run" in run("validate", "--execute", "--language", "text", tmp_path / "a.jsonl").output
    assert run("validate", "--language", "cypher", tmp_path / "a.jsonl").exit_code == 2
    with pytest.raises(DatasetError, match="cannot be checked"):
        validate_rows(rows, "cypher")


def test_statistics(tmp_path):
    rows = cases("sql", 200)
    stats = statistics_of(rows)
    assert stats["rows"] == 200
    assert stats["prompt"]["min"] <= stats["prompt"]["median"] <= stats["prompt"]["p95"] <= stats["prompt"]["max"]
    assert sum(stats["categories"]["family"].values()) == 200
    assert stats["duplicates"] == 0
    draw_statistics(stats, tmp_path / "stats.png")
    assert (tmp_path / "stats.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DatasetError, match="empty"):
        statistics_of([])


def test_filter():
    rows = cases("sql", 100)
    hard = [row for row in rows if filter_of(["difficulty=hard"])(row)]
    assert {row["difficulty"] for row in hard} == {"hard"}
    assert all(
        filter_of(["completion_length<60", "difficulty!=hard"])(row)
        == (len(row["completion"]) < 60 and row["difficulty"] != "hard")
        for row in rows
    )
    frame = next(row["phrasing"][0] for row in rows if row["phrasing"])
    assert {frame in row["phrasing"] for row in rows if filter_of([f"phrasing={frame}"])(row)} == {True}
    assert all("JOIN" in row["completion"] for row in rows if filter_of(["completion~JOIN"])(row))
    for bad in ("difficulty", "=3"):
        with pytest.raises(DatasetError, match="not a condition"):
            filter_of([bad])
    with pytest.raises(DatasetError, match="no regular expression"):
        filter_of(["prompt~["])
    with pytest.raises(DatasetError, match="no number"):
        filter_of(["family<3"])(rows[0])


def test_the_split_leaks_nothing(tmp_path):
    split = settings(split={"seed": 810, "valid": 0.1, "test": 0.1, "hold_out": {"group": 0.2, "phrasing": 0.15}}).split
    rows = cases("sql", 3000)
    report = split_rows(rows + rows[:50], split, tmp_path)
    parts = {name: list(read_rows(tmp_path / name)) for name in report.counts}
    assert sum(report.counts.values()) == 3000
    assert report.dropped == {"same prompt": 50}
    assert set(report.overlap.values()) == {0}
    assert all(report.counts[name] > 50 for name in parts)
    groups = {name: {row["group"] for row in rows} for name, rows in parts.items()}
    assert not groups[TRAIN] & groups[circle_file("group")]
    frames = {name: {frame for row in rows for frame in row["phrasing"]} for name, rows in parts.items()}
    held = {frame for frame in frames[circle_file("phrasing")] if split.hold_out.holds("phrasing", frame)}
    assert held
    assert not held & (frames[TRAIN] | frames[VALID] | frames[circle_file("rows")] | frames[circle_file("group")])
    identifiers = {
        name: {column for row in rows for _, columns in row["check"]["tables"] for column, _ in columns} - {"id"}
        for name, rows in parts.items()
    }
    assert not identifiers[TRAIN] & identifiers[circle_file("group")]
    split_rows(rows[::-1], split, tmp_path / "again")
    for name, part in parts.items():
        again = {row["prompt"] for row in read_rows(tmp_path / "again" / name)}
        assert again == {row["prompt"] for row in part}


def test_every_family_has_the_same_share_in_each_part(tmp_path):
    sizes = {"common": 300, "rare": 40, "": 60}
    rows = [
        {"prompt": f"{family} {number}", "completion": "x", "family": family}
        for family, size in sizes.items()
        for number in range(size)
    ]
    report = split_rows(rows, settings(split={"valid": 0.05, "test": 0.1}).split, tmp_path)
    assert report.counts == {TRAIN: 340, VALID: 20, circle_file("rows"): 40}
    for name, share in ((VALID, 0.05), (circle_file("rows"), 0.1)):
        found = Counter(row["family"] for row in read_rows(tmp_path / name))
        assert found == {family: share * size for family, size in sizes.items()}


def test_a_split_that_leaves_nothing_is_refused(tmp_path):
    split = settings(split={"hold_out": {"group": 1.0}}).split
    with pytest.raises(DatasetError, match="nothing is left"):
        split_rows(cases("sql", 40), split, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"preprocessing": {"near_duplicate": 0.9}}, "preprocessing.near_duplicate is unknown"),
        ({"colour": 1}, r"training\.dataset\.colour is unknown"),
        ({"generation": {"provider": "oracle"}}, r"training\.dataset\.generation\.provider"),
        ({"generation": {"temperature": 0.7}}, r"generation\.temperature means nothing to the provider 'template'"),
        ({"generation": {"provider": "openai", "schemas": 9}}, r"generation\.schemas means nothing to the provider"),
        ({"generation": {"provider": "anthropic", "seed": 1}}, r"generation\.seed means nothing to the provider"),
        ({"generation": {"provider": "anthropic", "temperature": 1.5}}, r"generation\.temperature must be from 0 to 1"),
        ({"generation": {"provider": "openai", "temperature": -0.1}}, r"generation\.temperature must be from 0 to 2"),
        ({"generation": {"provider": "openai", "temperature": float("nan")}}, r"generation\.temperature must be"),
        ({"generation": {"domain": "cobol"}}, r"training\.dataset\.generation\.domain"),
        ({"generation": {"count": 0}}, r"training\.dataset\.generation\.count"),
        ({"generation": {"count": "many"}}, r"training\.dataset\.generation\.count"),
        ({"split": {"valid": 0.5, "test": 0.5}}, "leave nothing"),
        ({"split": {"hold_out": {"/../../../victim": 0}}}, "a circle cannot be called so"),
        ({"split": {"hold_out": {"rows": 0.1}}}, "a circle cannot be called so"),
        ({"split": {"hold_out": {"group": 2}}}, r"training\.dataset\.split\.hold_out\.group"),
        ({"type": "multi_task"}, r"training\.dataset\.tasks is missing"),
        ({"format": "xml"}, r"training\.dataset\.format"),
        ({"path": "../../x/data.jsonl"}, r"training\.dataset\.path leaves"),
        ({"path": "/tmp/data.jsonl"}, r"training\.dataset\.path leaves"),
        ({"path": "C:\\data.jsonl"}, r"training\.dataset\.path leaves"),
        ({"tasks": [{"train": "a/../../b"}]}, r"training\.dataset\.tasks\[0\]\.train leaves"),
        ({"tasks": {"a": {"train": "a", "test": "/b"}}}, r"training\.dataset\.tasks\.a\.test leaves"),
        ({"tasks": {"a": {"train": "a", "wieght": 2}}}, r"training\.dataset\.tasks\.a\.wieght is unknown"),
        ({"tasks": {"a": {"train": "a", "format": "csv"}}}, r"training\.dataset\.tasks\.a\.format 'csv'"),
        ({"field_mapping": {"promt": "a"}}, r"training\.dataset\.field_mapping\.promt is unknown"),
    ],
)
def test_settings_that_make_no_sense(dataset, message):
    with pytest.raises(DatasetError, match=message):
        settings(**dataset)


def test_comments_are_no_settings():
    assert settings(_comment="x", split={"_why": "y"}).split.valid == 0.05
