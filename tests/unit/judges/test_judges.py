"""The judges: what they take for right and wrong, and that what they run can do no harm."""

import re
import resource
import socket
import subprocess
import sys
import time
from importlib import import_module

import pytest

from tests.support.sandbox import needs_sandbox
from xpm_build.errors import BuildError, EvaluationError
from xpm_build.judges import judge_of, measure_of, rust, typescript
from xpm_build.judges.cypher import syntax_error
from xpm_build.judges.judging import problem_of
from xpm_build.judges.sandbox import Limits, SandboxError, isolation, run, scratch_folder

pytestmark = needs_sandbox


def _works(judge):
    try:
        return judge.compiler() is not None
    except SandboxError:
        return False


FUNCTION = {
    "name": "double",
    "params": [["x", "int"]],
    "returns": "int",
    "records": [],
    "tests": [[[2], 4], [[-3], -6]],
}
TABLES = {"tables": [["users", [["id", "key"], ["name", "text"], ["age", "number"]]]], "literals": [30]}
GRAPH = {
    "nodes": [["Order", [["total", True], ["name", False]]], ["City", [["name", False], ["size", True]]]],
    "relationships": [["LIVES_IN", "Order", "City", [["since", True]]]],
    "literals": [30],
}


def verdict(language, check, gold, answer):
    return judge_of(language)([{"completion": gold, "check": check}], [answer])[0]


@pytest.mark.parametrize(
    ("answer", "right", "parses"),
    [
        ("def double(x: int) -> int:\n    return x + x", True, True),
        ("def double(x):\n    return 2 * x if x > 0 else 0", False, True),
        ("def double(x: int) -> int:\n    return x +", False, False),
        ("def treble(x):\n    return 3 * x", False, True),
        ("def double(x):\n    while True: pass", False, True),
        ("def double(x):\n    return [0] * 10**12", False, True),
        ("import sys\nsys.exit(0)", False, True),
        ("import os\nos._exit(0)", False, True),
        ("def double(x):\n    return float(2 * x)", False, True),
        ("import ctypes\nctypes.string_at(0)", False, True),
        ("", False, True),
    ],
)
def test_python(answer, right, parses):
    found = verdict("python", FUNCTION, "", answer)
    assert (found.right, found.parses) == (right, parses), found


@pytest.mark.parametrize(
    ("first", "type_"), [("", "str"), ("", '"str"'), ("from __future__ import annotations\n", "str")]
)
def test_a_python_dataclass_may_have_annotations_that_are_texts(first, type_):
    check = {"records": [["User", [["name", "str"], ["age", "int"]]]], "define": True}
    answer = f"{first}@dataclass\nclass User:\n    name: {type_}\n    age: int"
    assert verdict("python", check, "", answer).right


@pytest.mark.parametrize("language", ["python", "typescript", "rust"])
def test_a_name_that_is_asked_for_has_to_be_there(language):
    """A renamed parameter changes no call."""
    answer = {
        "python": "def double(x: int) -> int:\n    return x + x",
        "typescript": "function double(x: number): number { return x + x; }",
        "rust": "fn double(x: i64) -> i64 { x + x }",
    }[language]
    renamed = re.sub(r"\bx\b", "amount", answer)
    found = judge_of(language)(
        [{"completion": renamed, "check": {**FUNCTION, "named": ["amount"]}}] * 2, [answer, renamed]
    )
    assert [each.right for each in found] == [False, True]


@pytest.mark.parametrize(
    ("language", "check", "problem"),
    [
        ("python", FUNCTION, ""),
        ("sql", TABLES, ""),
        ("neo4j", GRAPH, ""),
        ("rust", {"records": [["A", [["a", "int"]]]], "define": True}, ""),
        ("json", {"anything": 1}, ""),
        ("sql", {"tables": [["users", [["id", "serial"]]]], "literals": []}, "check.tables[0][1][0][1]"),
        ("sql", {"tables": []}, "check"),
        ("neo4j", {**GRAPH, "nodes": [["City", ["name"]]]}, "check.nodes[0][1][0]"),
        ("typescript", {"name": "double"}, "'params' is a required property"),
        ("rust", {**FUNCTION, "returns": "float"}, "check.returns"),
        ("python", {**FUNCTION, "params": [["x", "@User"]]}, "check.records has no User"),
        ("python", {**FUNCTION, "tests": [[[1, 2], 3]]}, "check.tests[0] has 2 arguments"),
        ("python", {"define": True}, "'records' is a required property"),
    ],
)
def test_a_check_that_cannot_be_run_is_refused(language, check, problem):
    assert problem in problem_of(language, check)
    assert bool(problem) == bool(problem_of(language, check))
    row = {"prompt": "a", "completion": "b", "check": check}
    if problem:
        with pytest.raises(EvaluationError, match="cannot be run by its check"):
            judge_of(language)([row], ["b"])


def test_one_bad_answer_costs_no_other():
    answers = [
        "def double(x):\n    while True: pass",
        "import os; os.kill(os.getpid(), 9)",
        "def double(x):\n    return 2 * x",
    ]
    found = judge_of("python")([{"completion": "", "check": FUNCTION}] * 3, answers)
    assert [each.right for each in found] == [False, False, True]


@pytest.mark.parametrize(
    ("gold", "answer", "right", "parses"),
    [
        ("SELECT name FROM users WHERE age > 30;", "SELECT name FROM users WHERE 30 < age", True, True),
        ("SELECT name FROM users WHERE age > 30;", "SELECT name FROM users WHERE age >= 30", False, True),
        ("SELECT name FROM users WHERE age > 30;", "SELECT name FROM persons", False, True),
        ("SELECT name FROM users WHERE age > 30;", "SELECT name FROM WHERE", False, False),
        ("SELECT name FROM users WHERE age > 30;", "", False, False),
        ("SELECT name FROM users WHERE age > 30;", "SELECT 'abc", False, False),
        ("SELECT name FROM users WHERE age > 30;", "SELECT name FROM users WHERE age > 30 ORDER BY age", True, True),
        ("SELECT name FROM users ORDER BY age, id;", "SELECT name FROM users", False, True),
        ("DELETE FROM users WHERE age > 30;", "DELETE FROM users WHERE age > 30", True, True),
        ("DELETE FROM users WHERE age > 30;", "DELETE FROM users WHERE age < 30", False, True),
        ("UPDATE users SET age = 1;", "SELECT 1", False, True),
        ("SELECT 1;", "ATTACH DATABASE '/tmp/xpm-never.db' AS x", False, True),
        (
            "SELECT 1;",
            "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT COUNT(*) FROM t",
            False,
            True,
        ),
        ("SELECT 1;", "SELECT length(zeroblob(2000000000))", False, True),
        (
            "SELECT name FROM users ORDER BY age DESC LIMIT 3",
            "select name from users order by age desc limit 3",
            True,
            True,
        ),
        ("select name from users order by age, id;", "SELECT name FROM users", False, True),
        ("SELECT name FROM users WHERE age > 30", "DELETE FROM users WHERE age > 30 RETURNING name", False, True),
        ("INSERT INTO users (age) VALUES (3);", "INSERT INTO users (age) VALUES (3) RETURNING id;", True, True),
        (
            "SELECT name FROM users GROUP BY name HAVING COUNT(*) > 9",
            "SELECT name FROM users GROUP BY name HAVING COUNT(*) > 99",
            False,
            True,
        ),
        (
            "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT);",
            "CREATE TABLE Pets (ID INT, Name CHAR(9))",
            True,
            True,
        ),
        (
            "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT);",
            "CREATE TABLE pets (id INT, title TEXT)",
            False,
            True,
        ),
        ("CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT);", "SELECT 1", False, True),
        ("ALTER TABLE users RENAME COLUMN age TO years;", "ALTER TABLE users RENAME age TO years", True, True),
        ("ALTER TABLE users RENAME COLUMN age TO years;", "SELECT 1", False, True),
        ("DROP TABLE users;", "DROP TABLE IF EXISTS users", True, True),
        ("DROP TABLE users;", "DELETE FROM users", False, True),
        ("CREATE VIEW old AS SELECT * FROM users WHERE age > 30;", "SELECT * FROM users WHERE age > 30", False, True),
        ("SELECT name FROM users;", "CREATE TABLE copies AS SELECT name FROM users", False, True),
        (
            "SELECT 1;",
            "CREATE VIEW v AS WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT COUNT(*) FROM t",
            False,
            True,
        ),
    ],
)
def test_sql(gold, answer, right, parses):
    found = verdict("sql", TABLES, gold, answer)
    assert (found.right, found.parses) == (right, parses), found


@pytest.mark.parametrize(
    ("gold", "literals"),
    [
        ("UPDATE tasks SET done = 1 WHERE id = 4711", [4711]),
        ("SELECT title FROM tasks WHERE title = 'a' AND owner = 'b' AND room = 'c' AND done = 12", ["a", "b", "c", 12]),
        ("SELECT COUNT(*) FROM tasks WHERE title = 'a' AND owner = 'b' AND room = 'c'", ["a", "b", "c"]),
    ],
)
def test_a_statement_without_effect_is_told_from_one_that_hardly_has_any(gold, literals):
    columns = [["id", "key"], ["title", "text"], ["owner", "text"], ["room", "text"], ["done", "number"]]
    check = {"tables": [["tasks", columns]], "literals": literals}
    assert verdict("sql", check, gold, gold).right
    for idle in ("SELECT * FROM tasks WHERE 0", "SELECT 0"):
        assert not verdict("sql", check, gold, idle).right


@pytest.mark.parametrize(
    "gold",
    [
        "MATCH (a:Actor)-[r:ACTED_IN]->(:Movie) WHERE r.role = 'Neo' RETURN a",
        "MATCH (a:Actor)-[r:ACTED_IN]->(m:Movie) WHERE r.role = 'Neo' AND m.title = 'x' RETURN count(a)",
        "MATCH (a:Actor)-[r:ACTED_IN]->(m:Movie) WHERE r.role = 'Neo' AND m.title = 'x' SET a.name = 'y'",
    ],
)
def test_a_query_without_effect_is_told_from_one_that_hardly_has_any(gold):
    check = {
        "nodes": [["Movie", [["title", False]]], ["Actor", [["name", False]]]],
        "relationships": [["ACTED_IN", "Actor", "Movie", [["role", False]]]],
        "literals": ["Neo", "x"],
    }
    assert verdict("neo4j", check, gold, gold).right
    for idle in ("MATCH (a:Actor) WHERE 1 = 2 RETURN a", "MATCH (a:Actor) WHERE 1 = 2 RETURN count(a)"):
        assert not verdict("neo4j", check, gold, idle).right


@pytest.mark.parametrize(
    ("gold", "answer", "right", "parses"),
    [
        (
            "MATCH (a:Order) WHERE a.total > 30 RETURN a.name",
            "MATCH (x:Order) WHERE 30 < x.total RETURN x.name",
            True,
            True,
        ),
        (
            "MATCH (a:Order) WHERE a.total > 30 RETURN a.name",
            "MATCH (a:Order) WHERE a.total < 30 RETURN a.name",
            False,
            True,
        ),
        ("MATCH (a:Order) RETURN count(a)", "MATCH (a:Order RETURN", False, False),
        ("MATCH (a:Order) RETURN count(a)", "MATCH (a:Nothing) RETURN count(a)", False, True),
        (
            "MATCH (a:Order)-[:LIVES_IN]->(b:City) RETURN b.name",
            "MATCH (b:City)<-[:LIVES_IN]-(a:Order) RETURN b.name",
            True,
            True,
        ),
        ("CREATE (a:City {name: 'Oslo'})", "CREATE (:City {name: 'Oslo'})", True, True),
        ("CREATE (a:City {name: 'Oslo'})", "CREATE (:City {name: 'Rome'})", False, True),
        ("MATCH (a:Order) WHERE a.total > 30 DETACH DELETE a", "MATCH (a:Order) DETACH DELETE a", False, True),
        ("MATCH (a:City) RETURN a", "", False, False),
        ("MATCH (a:City) RETURN a.name", "match (a:City) return a.name", True, True),
        ("MATCH (a:City) RETURN a.name", "MATCH (a:City) SET a.size = 0 RETURN a.name", False, True),
        ("CREATE (a:City {name: 'Oslo'})", "CREATE (a:City {name: 'Oslo'}) RETURN a", True, True),
        ("MERGE (a:City {size: 30})", "MERGE (a:City {size: 30})", True, True),
        ("MERGE (a:City {size: 30})", "MERGE (a:Order {total: 30})", False, True),
        ("MATCH (a:City) RETURN a.name LIMIT 20", "MATCH (a:City) RETURN a.name", False, True),
        ("MATCH (a:City) RETURN count(a)", "MATCH (a:City) RETURN count(a); RETURN 1", False, False),
    ],
)
def test_cypher(gold, answer, right, parses):
    found = verdict("neo4j", GRAPH, gold, answer)
    assert (found.right, found.parses) == (right, parses), found


@pytest.mark.parametrize(
    ("answer", "right", "parses"),
    [
        ('{"b": 2, "a": 1}', True, True),
        ('{"a": 1.0, "b": 2}', False, True),
        ('{"a": 1', False, False),
        ("[" * 100_000, False, False),
    ],
)
def test_json(answer, right, parses):
    found = verdict("json", {}, '{"a": 1, "b": 2}', answer)
    assert (found.right, found.parses) == (right, parses)


@pytest.mark.skipif(not _works(rust), reason="no Rust compiler")
def test_rust_tells_each_case_from_its_neighbours():
    answers = [
        "fn double(x: i64) -> i64 {\n    x + x\n}",
        'fn double(x: i64) -> i64 {\n    x + "a"\n}',
        "fn double(x: i64) -> i64 {\n    x +\n}",
        "fn double(x: i64) -> i64 {\n    loop {}\n}",
        "fn double(x: i64) -> i64 {\n    x * 3\n}",
        "fn double(x: i64) -> i64 {\n    2 * x\n} } fn main() {",
        "fn double(x: i64) -> i64 {\n    undefined(x)\n}",
    ]
    found = judge_of("rust")([{"completion": "", "check": FUNCTION}] * len(answers), answers)
    assert [each.right for each in found] == [True, False, False, False, False, False, False]
    assert [each.parses for each in found][:3] == [True, True, False]


@pytest.mark.skipif(not _works(typescript), reason="no TypeScript compiler")
def test_typescript_is_type_checked_and_run():
    answers = [
        "function double(x: number): number {\n  return x + x;\n}",
        "function double(x: number): number {\n  return String(x);\n}",
        "function double(x: number): number {\n  return x +;\n}",
        "function double(x: number): number {\n  for (;;) {}\n}",
        "function double(x: number): number {\n  return 3 * x;\n}",
        "function double(x) {\n  return 2 * x;\n}",
    ]
    found = judge_of("typescript")([{"completion": "", "check": FUNCTION}] * len(answers), answers)
    assert [each.right for each in found] == [True, False, False, False, False, False]
    assert [each.parses for each in found][:3] == [True, True, False]


@pytest.mark.skipif(not _works(typescript), reason="no TypeScript compiler")
def test_typescript_that_ends_node_costs_itself_alone():
    answers = [
        "function double(x: number): number {\n  return 2 * x;\n}",
        "const all: string[][] = [];\nfunction double(x: number): number {\n  for (;;) all.push(new "
        "Array(1e6).fill('a'));\n}",
        "(async () => { for (;;) await 0; })();\nfunction double(x: number): number {\n  return 2 * x;\n}",
        "function double(x: number): number {\n  return x + x;\n}",
    ]
    started = time.monotonic()
    found = judge_of("typescript")([{"completion": "", "check": FUNCTION}] * len(answers), answers)
    assert [each.right for each in found] == [True, False, False, True], found
    assert time.monotonic() - started < 60


@pytest.mark.skipif(not _works(typescript), reason="no TypeScript compiler")
def test_typescript_that_breaks_the_compiler_costs_itself_alone(monkeypatch, tmp_path):
    fragile = tmp_path / "tsc"
    fragile.write_text(
        f'#!/bin/sh\ngrep -q FATAL case_*.ts 2>/dev/null && exit 134\nexec {typescript.compiler()} "$@"\n'
    )
    fragile.chmod(0o755)
    monkeypatch.setenv("XPM_TSC", str(fragile))
    good = "function double(x: number): number { return 2 * x; }"
    answers = [good, good, f"{good} // FATAL", good, "let a: number = true;"]
    found = judge_of("typescript")([{"completion": "", "check": FUNCTION}] * len(answers), answers)
    assert [verdict.right for verdict in found] == [True, True, False, True, False]
    assert found[2].reason == "the compiler fails on it"


@pytest.mark.skipif(not _works(typescript), reason="no TypeScript compiler")
def test_memory_beside_the_heap_of_typescript_is_bounded():
    eager = "const kept: ArrayBuffer[] = []; for (let i = 0; i < 12; i++) kept.push(new Uint8Array(2 ** 28).buffer);"
    answers = [f"function double(x: number): number {{ {text} return 2 * x; }}" for text in ("", eager)]
    found = judge_of("typescript")([{"completion": "", "check": FUNCTION}] * len(answers), answers)
    assert [verdict.right for verdict in found] == [True, False]
    assert "allocation failed" in found[1].reason


@pytest.mark.skipif(not _works(rust), reason="no Rust compiler")
@pytest.mark.parametrize("macro", ["println", "eprintln"])
def test_what_rust_prints_is_not_kept(macro):
    answer = f'fn double(x: i64) -> i64 {{ loop {{ {macro}!("{{}}", "a".repeat(1 << 20)); }} }}'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not judge_of("rust")([{"completion": "", "check": FUNCTION}], [answer])[0].right
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("MATCH (a:Order) WHERE a.name = ';' RETURN a;", ""),
        ('MATCH (a:Order) WHERE a.name = "; \'" RETURN a', ""),
        ("RETURN 1 // a; b\n", ""),
        ("MATCH (a:Order RETURN", "Parser exception"),
        ("RETURN 1; COPY (RETURN 'x') TO '{file}'", "more than one statement"),
        ("RETURN \"'\"; COPY (RETURN 'x') TO '{file}'", "more than one statement"),
        ("RETURN 1 // '\n; COPY (RETURN 'x') TO '{file}' // '", "more than one statement"),
        ("COPY (RETURN 'x') TO '{file}'", ""),
    ],
)
def test_the_syntax_of_cypher_is_checked_without_running_it(query, reason, tmp_path):
    file = tmp_path / "written.csv"
    found = syntax_error(query.replace("{file}", str(file)))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)
    assert not file.exists()


def test_an_answer_of_several_cypher_statements_runs_none(tmp_path):
    file = tmp_path / "written.csv"
    assert not verdict("neo4j", GRAPH, "RETURN 1", f"RETURN 1; COPY (RETURN 'x') TO '{file}'").right
    assert not file.exists()


def test_without_a_compiler_the_gold_text_alone_is_right(monkeypatch):
    monkeypatch.setattr(rust, "compiler", lambda: None)
    gold = "fn double(x: i64) -> i64 {\n    x + x\n}"
    found = judge_of("rust")(
        [{"completion": gold, "check": FUNCTION}] * 3, [gold.replace("\n", " "), "fn double(", gold + "//"]
    )
    assert [(each.right, each.parses) for each in found] == [(True, True), (False, False), (False, True)]
    assert "no compiler" in found[2].reason
    assert "no compiler" in measure_of("rust")


@pytest.mark.parametrize("ask", [judge_of, measure_of])
def test_an_unknown_language_is_refused(ask):
    with pytest.raises(BuildError, match="no judge"):
        ask("cobol")


# The sandbox

_CODE = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=2); print('reached')"


def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server, scratch_folder() as folder:
        port = server.getsockname()[1]
        assert run([sys.executable, "-c", "print(1)"], folder, limits=Limits()).stdout == b"1\n"
        done = run([sys.executable, "-c", _CODE.format(port=port)], folder, limits=Limits())
    assert done.returncode != 0
    assert b"reached" not in done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "x = bytearray(3 << 30)",
        "open('big', 'wb').write(bytes(100 << 20))",
        "import time; time.sleep(60)",
    ],
)
def test_limits_hold(code):
    limits = Limits(cpu_s=1, wall_s=4.0, memory_bytes=1 << 30, file_bytes=1 << 20)
    started = time.monotonic()
    with scratch_folder() as folder:
        assert run([sys.executable, "-c", code], folder, limits=limits).returncode != 0
    assert time.monotonic() - started < 15


_STRAY = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for stream in (0, 1, 2):
            os.close(stream)
        for _ in range(40):
            open({file!r}, "a").write("x")
            time.sleep(0.1)
        os._exit(0)
    os._exit(0)
"""


@needs_sandbox
def test_an_answer_that_waits_for_a_processor_is_waited_for_one_that_sleeps_is_not(monkeypatch):
    worker = import_module("xpm_build.judges.worker")
    monkeypatch.setattr(worker, "_WALL_S", 0.2)

    def starved(job):
        for _ in range(20):  # as on a machine that does much else: a little at a time
            time.sleep(0.05)
            sum(range(100_000))
        return True, True, ""

    assert worker._in_child(starved, {}) == (True, True, "")
    begin = time.monotonic()
    assert worker._in_child(lambda job: time.sleep(60), {}) == (False, True, "took too long")
    assert time.monotonic() - begin < 10


own_processes = pytest.mark.skipif(
    needs_sandbox.args[0] or "--pid" not in isolation(), reason="no processes of one's own here"
)


@own_processes
@pytest.mark.parametrize("through", ["run", "judge"])
def test_nothing_outlives_what_started_it(through, tmp_path):
    code = _STRAY.format(file=str(tmp_path / "alive"))
    if through == "judge":
        verdict("python", FUNCTION, "", code)
    else:
        with scratch_folder() as folder:
            run([sys.executable, "-c", code], folder, limits=Limits())
    size = (tmp_path / "alive").stat().st_size if (tmp_path / "alive").exists() else 0
    time.sleep(0.5)
    assert size == ((tmp_path / "alive").stat().st_size if (tmp_path / "alive").exists() else 0)


@own_processes
def test_no_process_of_the_user_is_reached():
    with subprocess.Popen(["sleep", "60"]) as bystander:
        code = f"import os\nprint(os.path.exists('/proc/{bystander.pid}/environ'))\nos.kill({bystander.pid}, 9)"
        with scratch_folder() as folder:
            done = run([sys.executable, "-c", code], folder, limits=Limits())
        assert b"ProcessLookupError" in done.stderr
        if "--mount-proc" in isolation():
            assert done.stdout == b"False\n"
        assert bystander.poll() is None
        bystander.kill()


@own_processes
@pytest.mark.parametrize("target", ["-1", "os.getppid()"])
def test_an_answer_cannot_end_its_judge(target):
    answers = [f"import os; os.kill({target}, 9)", "def double(x):\n    return 2 * x"]
    found = judge_of("python")([{"completion": "", "check": FUNCTION}] * 2, answers)
    assert [each.right for each in found] == [False, True]


@pytest.mark.parametrize("refused", [("--mount-proc",), ("--pid",)])
def test_a_machine_that_refuses_namespaces_of_processes_still_judges(refused, monkeypatch):
    real = subprocess.run

    def without(command, **options):
        return real(["false"] if set(refused) & set(command) else command, **options)

    isolation.cache_clear()
    monkeypatch.setattr(subprocess, "run", without)
    try:
        assert not set(refused) & set(isolation())
        assert verdict("python", FUNCTION, "", "def double(x):\n    return 2 * x").right
    finally:
        isolation.cache_clear()


def test_nothing_of_the_environment_is_seen(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with scratch_folder() as folder:
        done = run([sys.executable, "-c", "import os; print(os.environ)"], folder, limits=Limits())
    assert b"secret" not in done.stdout
    assert str(folder).encode() in done.stdout
