"""``xpm run`` and ``xpm chat`` with ``--adapter-memory``: ranks are cut, then experts left
out, and the answer says so."""

import json
import re

import pytest

QUESTION = "List the names of users with age over 25. Schema: users(id, name, age)"
ANSWER = "SELECT name FROM users WHERE age > 25;"
JSON_QUESTION, JSON_ANSWER = "Convert to JSON: city is Oslo, capital is yes", '{"city": "Oslo", "capital": true}'
ONE, TWO = ("-e", "expert-sql"), ("-e", "expert-sql", "-e", "expert-json")


@pytest.fixture
def run(command):
    return lambda *options: json.loads(command("run", *options, "--max-tokens", "30", "--json", QUESTION).stdout)


def test_what_is_given_up_is_told(run, command):
    whole = run(*ONE, "--adapter-memory", "1GB")
    assert (whole["text"], "notes" in whole) == (ANSWER, False)
    refused = command("run", *ONE, "--adapter-memory", "1kB", QUESTION, code=1)
    least = float(re.search(r"expert-sql needs ([\d.]+) MB", str(refused))[1])
    assert "raise --adapter-memory" in refused.hint
    cut = run(*ONE, "--adapter-memory", f"{least + 0.1:.1f}MB")
    (note,) = cut["notes"]
    rank, full, lost = re.search(r"expert-sql acts at rank (\d+) of (\d+), which loses ([\d.]+)% of it", note).groups()
    assert int(rank) < int(full)
    assert 0 < float(lost) <= 25
    assert cut["text"] == ANSWER
    both = run(*TWO, "--adapter-memory", f"{least + 0.1:.1f}MB")
    assert both["experts"] == ["expert-sql"]  # the last of those that were named goes first
    assert any("expert-json did not act" in each for each in both["notes"])


def test_a_chat_stays_within_it_turn_by_turn(run, command):
    refused = command("run", *ONE, "--adapter-memory", "1kB", QUESTION, code=1)
    least = float(re.search(r"needs ([\d.]+) MB", str(refused))[1])
    turns = f"{QUESTION}\n/undo\n/use expert-json\n{JSON_QUESTION}\n/undo\n/use expert-sql\n{QUESTION}\n"
    told = command("chat", "--adapter-memory", f"{least + 0.1:.1f}MB", "--max-tokens", "40", stdin=turns)
    assert told.stdout.count(ANSWER) == 2
    assert JSON_ANSWER in told.stdout
    assert told.stderr.count("expert-sql acts at rank") == 2
    assert "expert-json acts at rank" in told.stderr
