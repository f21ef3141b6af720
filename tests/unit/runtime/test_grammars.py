"""The built-in grammars, what experts state, and what a prompt's schema makes of SQL and Cypher."""

import time
from itertools import islice

import pytest

from xpm_build.domains import DOMAINS, draw_cases
from xpm_runtime import ConstraintError
from xpm_runtime.constraint import fitting
from xpm_runtime.grammars import built_in, for_prompt, stated_grammar
from xpm_runtime.grammars.schema import read_schema

TABLES = "Schema: users(id, name, age), orders(id, user_id, group)"
GRAPH = "Graph: (:Person {name, age}), (:City {size}), (:Person)-[:LIVES_IN {since}]->(:City)"


@pytest.mark.parametrize(("domain", "name"), [("json", "json"), ("sql", "sql"), ("neo4j", "cypher")])
def test_what_the_embedded_experts_learn_from_fits(domain, name):
    cases = list(islice(draw_cases(DOMAINS[domain], 3, num_schemas=60), 120))
    assert all(fitting(built_in(name), [case.completion for case in cases]))
    for case in cases[:30]:
        assert list(fitting(for_prompt(name, case.prompt), [case.completion])) == [True], case


@pytest.mark.parametrize(
    ("request_", "right", "wrong"),
    [
        (
            "Names of users older than 30.",
            ["SELECT name FROM users WHERE age > 30;", "SELECT u.name FROM users u", 'SELECT "group" FROM orders'],
            [
                "SELECT title FROM users",
                "SELECT name FROM people",
                "SELECT user_id FROM users",
                "SELECT group FROM orders",
            ],
        ),
        (
            "Users with their orders",
            [
                "SELECT users.name, orders.id FROM users JOIN orders ON orders.user_id = users.id",
                "SELECT name FROM users WHERE id IN (SELECT user_id FROM orders)",
                "SELECT name FROM users UNION SELECT id FROM orders ORDER BY name LIMIT 3",
            ],
            [
                "SELECT name FROM users JOIN orders ON orders.uid = users.id",
                "SELECT users.user_id FROM users JOIN orders ON orders.user_id = users.id",
            ],
        ),
        (
            "Users with their orders",
            [
                "SELECT u.name, o.id FROM users u JOIN orders AS o ON o.user_id = u.id",
                "SELECT t.name FROM users t JOIN orders t2 ON t2.user_id = t.id",
                "SELECT u1.name FROM users u1 JOIN users m ON m.id = u1.id JOIN orders ON user_id = m.id",
            ],
            [
                "SELECT u.user_id FROM users u JOIN orders o ON o.user_id = u.id",
                "SELECT o.name FROM orders o JOIN users u ON o.user_id = u.id",
                "SELECT u.name FROM orders u JOIN users o ON u.user_id = o.id",
            ],
        ),
        (
            "Rename the column age",
            ["ALTER TABLE users RENAME COLUMN age TO years"],
            ["ALTER TABLE a ADD COLUMN b TEXT"],
        ),
        ("Who is old?", ["SELECT * FROM users"], ["DROP TABLE users", "CREATE TABLE a (b TEXT)"]),
        (
            "Delete users older than 30",
            ["DELETE FROM users WHERE age > 30", "DELETE FROM users WHERE name LIKE 'A%' AND NOT age IS NULL"],
            ["DELETE FROM users", "DELETE FROM users WHERE 1 = 1", "DELETE FROM users WHERE user_id = 3"],
        ),
        ("Delete the users", ["DELETE FROM users", "DELETE FROM users WHERE id = 1"], ["DELETE FROM people"]),
        (
            "Set the age to 30 where the name is missing",
            ["UPDATE users SET age = 30 WHERE name IS NULL"],
            ["UPDATE users SET age = 30", "UPDATE users SET user_id = 30 WHERE name IS NULL"],
        ),
        (
            "A new user, Ann",
            ["INSERT INTO users (name) VALUES ('Ann');"],
            ["INSERT INTO users (user_id) VALUES ('Ann')"],
        ),
    ],
)
def test_sql_has_the_names_of_the_prompt_and_no_others(request_, right, wrong):
    grammar = for_prompt("sql", f"{request_} {TABLES}")
    assert list(fitting(grammar, [*right, *wrong])) == [True] * len(right) + [False] * len(wrong)


def test_sql_over_more_tables_than_there_are_letters():
    tables = ", ".join(f"{letter}s(id, {letter})" for letter in "abcdefghijklmnopqrstuvwxyz")
    grammar = for_prompt("sql", f"Join them. Schema: {tables}")
    assert list(
        fitting(grammar, ["SELECT a.a, z.z FROM as_ JOIN zs z", "SELECT a.a FROM bs a JOIN zs z ON a.id = z.id"])
    ) == [False, True]


@pytest.mark.parametrize(
    ("request_", "right", "wrong"),
    [
        (
            "Who lives in a city larger than 3?",
            ["MATCH (a:Person)-[r:LIVES_IN]->(b:City) WHERE b.size > 3 RETURN a.name"],
            ["MATCH (a:Dog) RETURN a", "MATCH (a:Person) RETURN a.colour", "MATCH (a)-[:KNOWS]->(b) RETURN a"],
        ),
        (
            "Delete people older than 30",
            ["MATCH (a:Person) WHERE a.age > 30 DETACH DELETE a", "MATCH (a:Person {age: 31}) DETACH DELETE a"],
            ["MATCH (a:Person) DETACH DELETE a", "MATCH (a) SET a.age = 1"],
        ),
        ("Delete all people", ["MATCH (a:Person) DETACH DELETE a"], ["MATCH (a:Dog) DETACH DELETE a"]),
        (
            "Who lives where?",
            [
                "MATCH (c:City)<-[:LIVES_IN]-(:Person {age: 3}) RETURN c",
                "MATCH (p:Person)-[:LIVES_IN]-(c:City) RETURN p, c",
                "MATCH (p:Person)-[l:LIVES_IN {since: 3}]->(x)<--(:Person) RETURN p",
                "MATCH (p:Person), (c:City) WHERE NOT EXISTS { MATCH (p)-[:LIVES_IN]->(c) } RETURN p",
                "MATCH (p)-[:LIVES_IN|LIVES_IN]->(:Person) RETURN p",
            ],
            [
                "MATCH (c:City)-[:LIVES_IN]->(p:Person) RETURN c",
                "MATCH (p:Person)-[:LIVES_IN]->(:Person) RETURN p",
                "MATCH (p:Person)<-[:LIVES_IN]-(c) RETURN c",
                "MATCH (c:City {age: 3}) RETURN c",
                "MATCH (p:Person)-[:LIVES_IN {size: 3}]->(c:City) RETURN c",
            ],
        ),
        (
            "Is Liam O'Brien from new york here? Since 1 May 2024",
            [
                "MATCH (p:Person {name: 'Liam O\\'Brien'}) RETURN p",
                "MATCH (c:City) WHERE c.name = 'new york' OR c.name = 'New York' OR c.name STARTS WITH \"york\" "
                "RETURN c",
                "MATCH (:Person)-[l:LIVES_IN]->(:City) WHERE l.since > '2024-05-01' RETURN l",
                "MATCH (c:City) WHERE c.name =~ '.*york.*' RETURN c",
            ],
            [
                "MATCH (p:Person {name: 'Liam Neeson'}) RETURN p",
                "MATCH (c:City) WHERE c.name = 'York New' RETURN c",
                "MATCH (c:City) WHERE c.name = 'LIVES_IN' RETURN c",
                "MATCH (c:City) WHERE c.name = 'rk' RETURN c",
            ],
        ),
    ],
)
def test_cypher_has_the_names_of_the_prompt_and_no_others(request_, right, wrong):
    grammar = for_prompt("cypher", f"{request_} {GRAPH}")
    assert list(fitting(grammar, [*right, *wrong])) == [True] * len(right) + [False] * len(wrong)


def test_what_cypher_quotes_of_a_long_prompt_is_free():
    answer = "MATCH (p:Person {name: 'Nobody'}) RETURN p"
    short, long = (for_prompt("cypher", f"{'Who? ' * times}{GRAPH}") for times in (10, 1000))
    assert (list(fitting(short, [answer])), list(fitting(long, [answer]))) == ([False], [True])


def test_a_schema_is_read_from_definitions_too():
    created = "Names? CREATE TABLE IF NOT EXISTS `pets` (id INTEGER PRIMARY KEY, name VARCHAR(20), PRIMARY KEY (id));"
    assert read_schema(created).tables == {"pets": ("id", "name")}
    assert read_schema("Names? Tables: pets(id INTEGER, name TEXT)").tables == {"pets": ("id", "name")}
    assert read_schema("What is f(x)?").tables == {"f": ("x",)}


@pytest.mark.parametrize(
    "text",
    [
        "Given pets (id int, name varchar(20)): names?",
        "* pets (id, name)\nnames (and none twice, please)",
        "We have a table pets with columns id and name. Names?",
        "Names?\n\nSchema: Table pets - id, name",
        "pets: id, name\nnames?",
    ],
)
def test_a_schema_is_read_as_people_write_it(text):
    assert read_schema(text).tables == {"pets": ("id", "name")}


@pytest.mark.parametrize(
    ("text", "has_condition", "is_defining"),
    [
        ("CREATE TABLE a (id INTEGER, text TEXT NOT NULL);\n\nSet all to 1", False, False),
        ("a(id, text)\n\nDelete those with no text", True, False),
        ("Graph: (:A {id})-[:WITH]->(:B)\n\nDelete every A", False, False),
        ("Add a column b to a. Schema: a(id)", False, True),
    ],
)
def test_what_is_asked_is_told_from_the_schema_before_it(text, has_condition, is_defining):
    found = read_schema(text)
    assert (found.has_condition, found.is_defining) == (has_condition, is_defining)


@pytest.mark.parametrize("text", ["a(b", "a (b, ", "table a has a, a and ", "(a:B"])
def test_a_long_prompt_is_read_in_time_that_grows_with_it(text):
    started = time.process_time()
    read_schema(text * (100_000 // len(text)))
    assert time.process_time() - started < 10.0, "it was 130 s where every bracket was followed to the end"


def test_what_is_no_schema():
    assert read_schema("What is it?").tables == {}


@pytest.mark.parametrize(
    ("stated", "files", "kind"),
    [
        ({}, {"grammar.gbnf": "x"}, None),
        ({"use_grammar": False, "grammar_type": "sql"}, {}, None),
        ({"use_grammar": True}, {"grammar.gbnf": "x"}, "gbnf"),
        ({"use_grammar": True, "grammar_type": "sql"}, {"grammar.gbnf": "x"}, "gbnf"),
        ({"use_grammar": True, "grammar_file": "a/b.lark"}, {"a/b.lark": "x", "grammar.gbnf": "y"}, "lark"),
        ({"use_grammar": True, "grammar_file": "b.txt", "grammar_type": "regex"}, {"b.txt": "x"}, "regex"),
        ({"use_grammar": True, "grammar_type": "sql_postgres"}, {}, "lark"),
        ({"use_grammar": True, "grammar_type": "JSON"}, {}, "json_schema"),
    ],
)
def test_an_expert_s_grammar_is_where_its_manifest_says(stated, files, kind, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = stated_grammar(stated, tmp_path)
    assert (found and found.kind) == kind


def test_a_grammar_that_is_not_there_is_an_error(tmp_path):
    for stated in ({}, {"grammar_type": "prose"}, {"grammar_file": "../a"}, {"grammar_file": "a.gbnf"}):
        with pytest.raises(ConstraintError):
            stated_grammar({"use_grammar": True, **stated}, tmp_path)
