"""What is warned of before an answer is run."""

import pytest

from xpm.operations.destructive import what_is_lost


@pytest.mark.parametrize(
    ("answer", "warning"),
    [
        ("SELECT name FROM users", ""),
        ("INSERT INTO users (name) VALUES ('delete from x')", ""),
        ("Updates come on Tuesdays.", ""),
        ("MATCH (a) WHERE a.x = 'DETACH DELETE' RETURN a", ""),
        ("CREATE (a:B {c: 1})", ""),
        ("DELETE FROM users WHERE id = 1;", "run as it is, this deletes data"),
        ("delete from users", "run as it is, this deletes data, all of it: it states no condition"),
        ("UPDATE users SET a = 'where'", "run as it is, this changes data, all of it: it states no condition"),
        ("MATCH (a:B) DETACH DELETE a", "run as it is, this deletes data, all of it: it states no condition"),
        ("MATCH (a:B {c: 1}) SET a.c = 2", "run as it is, this changes data"),
        ("DROP TABLE users", "run as it is, this drops a whole table"),
    ],
)
def test_what_would_be_lost_is_said(answer, warning):
    assert what_is_lost(answer) == warning
