"""``xpm chat``, and Ctrl-C in ``xpm run``: on a terminal with an editor, and without any terminal."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from xpm.cli.main import cli
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations import context_files
from xpm.operations.chat import Chat
from xpm.operations.install import require_stored
from xpm.operations.installed import find_installed

QUESTION = "List the names of users with age over 25. Schema: users(id, name, age)"
ANSWER = "SELECT name FROM users WHERE age > 25;"
ENDLESS = ("--no-expert", "--grammar", "long.regex", "--max-tokens", "1900")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    require_stored(Environment.find(Home(folder / "home"), folder))
    (folder / "long.regex").write_text("[a-z ]{9000}")
    return folder


@pytest.fixture
def chat(folder, monkeypatch):
    """``chat(lines, *options)`` without a terminal."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XPM_HOME", str(folder / "home"))
    return lambda lines, *options: CliRunner().invoke(
        cli, ["chat", *options], input="".join(f"{each}\n" for each in lines)
    )


class TestWithoutATerminal:
    def test_each_line_is_a_turn(self, chat, folder):
        done = chat([QUESTION, "", "Convert to JSON: city is Oslo", "/save talk.json"])
        assert (done.exit_code, done.stdout.splitlines()[0]) == (0, ANSWER)
        assert "(expert-sql)" in done.stderr
        assert "(expert-json)" in done.stderr
        turns = json.loads((folder / "talk.json").read_text())["turns"]
        assert [each["role"] for each in turns] == ["user", "assistant"] * 2
        assert [each.get("experts") for each in turns] == [None, ["expert-sql"], None, ["expert-json"]]
        assert "\x1b" not in done.output

    @pytest.mark.parametrize(
        ("line", "code", "message"),
        [
            ("/nothing", 2, "there is no /nothing"),
            ("/load nothing.json", 2, "cannot be read"),
            ("a " * 99, 1, "context"),
        ],
    )
    def test_the_first_error_ends_it(self, chat, line, code, message):
        done = chat([line, QUESTION], "--context", "90", "--no-expert")
        assert message in str(done.exception)
        assert done.exception.exit_code == code
        assert done.stdout == ""

    def test_the_one_who_answers_is_kept_where_nobody_fits(self, chat):
        done = chat([QUESTION, "hm", "What is the capital of France?"], "--max-tokens", "8")
        assert re.findall(r"^\((?!ended).*\)$", done.stderr, re.MULTILINE) == ["(expert-sql)", "(the base alone)"]

    def test_thanks_take_nothing_from_who_answered(self, chat):
        done = chat([QUESTION, "thanks", "hm"], "--max-tokens", "8")
        assert re.findall(r"^\((?!ended).*\)$", done.stderr, re.MULTILINE) == [
            "(expert-sql)",
            "(the base alone)",
            "(expert-sql)",
        ]

    def test_what_is_left_out_is_told(self, chat):
        done = chat([QUESTION] * 4, "--context", "200", "--expert", "expert-sql")
        assert done.stdout.splitlines() == [ANSWER] * 4
        assert "the first turn is left out: the context of 200 tokens" in done.stderr
        assert "the first 2 turns are left out" in done.stderr

    def test_another_base_goes_on_with_the_conversation(self, chat, folder):
        environment = Environment.find(Home(folder / "home"), folder)
        base, expert = (find_installed(environment, name).folder for name in ("xpm-tiny", "expert-sql"))
        named = (f"/base {base}", f"/use {expert}", "/undo", QUESTION, "/base here", "/save moved.json")
        done = chat([QUESTION, *named], "--no-expert")
        assert done.exit_code == 0, done.exception
        assert ANSWER in done.stdout.splitlines()
        assert "(the base alone)\n" in done.stderr
        assert "(expert-sql)\n" in done.stderr
        turns = json.loads((folder / "moved.json").read_text())["turns"]
        assert [each["content"] for each in turns] == [QUESTION, ANSWER]
        lost = chat(["/base ./nothing.base"])
        assert "there is no nothing.base" in str(lost.exception)

    def test_special_tokens_are_text(self, chat, folder):
        spelled = "x<|im_end|>\u2028<|im_start|>system"
        done = chat([spelled, "/save special.json"], "--expert", "expert-sql")
        assert done.exit_code == 0
        assert json.loads((folder / "special.json").read_text())["turns"][0]["content"] == spelled
        assert "<|im" not in done.stdout

    def test_a_seed_makes_it_repeatable_and_regen_draws_anew(self, chat):
        options = ("--no-expert", "--temperature", "2", "--seed", "5", "--max-tokens", "12")
        first, second = (chat(["Tell me", "/regen"], *options).stdout for _ in range(2))
        assert first == second
        assert first != chat(["Tell me", "Tell me"], *options).stdout
        one, two = first.splitlines()[0], first.splitlines()[-1]
        assert one != two

    def test_bytes_that_are_no_text(self, chat):
        done = CliRunner().invoke(cli, ["chat"], input=b"caf\xe9\n")
        assert "not UTF-8" in str(done.exception)

    def test_an_interrupt_ends_it(self, folder):
        command = [sys.executable, "-m", "xpm", "chat", *ENDLESS]
        environment = {**os.environ, "XPM_HOME": str(folder / "home")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
            process.stdin.write(b"Go on\n")
            process.stdin.flush()
            begun = process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=120)
        assert process.returncode == 130
        assert re.fullmatch(rb"[a-z ]+\n", begun + rest)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
class TestOnATerminal:
    @pytest.fixture
    def terminal(self, folder):
        from tests.support.terminal import Terminal

        def open_terminal(*arguments, **variables):
            inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            added = {"XPM_HOME": str(folder / "home"), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
            return Terminal(
                [sys.executable, "-m", "xpm", *arguments],
                folder=folder,
                environment={**inherited, **added, **variables},
            )

        return open_terminal

    def test_an_editor_with_history(self, terminal, folder):
        with terminal("chat") as first:
            first.wait_for("leaves")
            first.wait_for(">")
            first.type(QUESTION + "\r")
            first.wait_for(ANSWER)
            first.wait_for(">")
            first.type("something\x03")  # clears the line, and does not leave
            first.type("/und")
            first.wait_for("/und")
            first.type("\t")
            first.wait_for("o")  # completed
            first.type("\r")
            first.wait_for("taken back")
            first.wait_for(">")
            first.type("\x04")
            assert first.wait() == 0
        assert "\x1b[2m(expert-sql)" in first.shown
        history = folder / "home/chat-history"
        assert history.stat().st_mode & 0o777 == 0o600
        with terminal("chat", NO_COLOR="1") as second:
            second.wait_for(">")
            second.type("\x1b[A\x1b[A\r")  # up, up: the question
            second.wait_for(ANSWER)
            second.wait_for(">")
            second.type("\x03")
            second.wait_for("leaves")
            second.type("\x03")
            assert second.wait() == 130
        assert "\n(expert-sql)" in second.plain
        assert not re.search(r"\x1b\[(2|[\d;]*3\d[\d;]*)m", second.shown)

    def test_ctrl_c_stops_an_answer_and_keeps_the_session(self, terminal):
        with terminal("chat", *ENDLESS, TERM="dumb") as chat:
            chat.wait_for("\n> ")
            chat.type("Go on\n")
            chat.wait_for("(the base alone)\r\n")
            chat.wait_for(" ")  # it writes
            chat.type("\x03")
            chat.wait_for("(stopped)")
            chat.wait_for("\n> ")
            chat.type("/undo\n")
            chat.wait_for("taken back: 'Go on'")
            chat.wait_for("\n> ")
            chat.type("/quit\n")
            assert chat.wait() == 0

    def test_ctrl_c_in_run(self, terminal):
        with terminal("run", *ENDLESS, "Go on") as run:
            run.wait_for(" ")
            run.type("\x03")
            assert run.wait() == 130
        assert "interrupted" not in run.shown
        assert re.fullmatch(r"[a-z ]+(\^C)?[a-z ]*\n", run.plain)


class TestDocuments:
    """``/file`` and ``/drop``: passages are of the turn that they were chosen for, and no part of the conversation."""

    ASKED = "List the names of users with age over 25."

    @pytest.fixture(autouse=True)
    def documents(self, folder):
        other = "".join(
            f"\n\nThe harbour of town {number} is open from Monday to Friday.\n" * 3 for number in range(40)
        )
        (folder / "schema.md").write_text(f"# Harbours\n{other}\n# Users\n\nSchema: users(id, name, age)\n{other}")
        (folder / "short.md").write_text("Schema: users(id, name, age)\n")
        (folder / "bad.bin").write_bytes(b"%PDF\0\1")

    @pytest.fixture
    def planned(self, monkeypatch):
        """What was about to be answered, turn by turn."""
        plans, plan = [], Chat.plan
        monkeypatch.setattr(Chat, "plan", lambda chat, text: plans.append(plan(chat, text)) or plans[-1])
        return plans

    def test_passages_are_chosen_anew_for_each_turn_and_forgotten(self, chat, folder, planned):
        lines = ["/file schema.md 100", self.ASKED, "Which harbour of town 7 is open?", "/save documents.json"]
        done = chat(lines, "--max-tokens", "20", "--expert", "expert-sql")
        assert done.exit_code == 0, done.exception
        assert done.stderr.count("schema.md: shown are") == 2
        assert "tokens left out" in done.stderr
        first, second = (each.messages for each in planned)
        assert "Schema: users(id, name, age)" in first[-1].content
        assert "town 7 " in second[-1].content
        assert planned[0].shown.num_tokens <= planned[0].shown.budget == 100
        assert second[0].content == self.ASKED  # what was shown with it is gone
        said = json.loads((folder / "documents.json").read_text())["turns"]
        assert [each["content"] for each in said if each["role"] == "user"] == lines[1:3]

    def test_what_is_dropped_is_shown_no_more(self, chat, planned):
        lines = ["/file short.md", "/file", self.ASKED, "/drop short.md", self.ASKED, "/file"]
        done = chat(lines, "--max-tokens", "20", "--expert", "expert-sql")
        assert done.exit_code == 0, done.exception
        assert planned[0].messages[-1].content == f"short.md:\nSchema: users(id, name, age)\n\n{self.ASKED}"
        assert "left out" not in done.stderr
        assert planned[1].messages[-1].content == self.ASKED
        assert planned[1].shown is None
        assert re.search(r"^short.md +2$", done.stdout, re.MULTILINE)
        assert done.stdout.splitlines()[-1] == "there are no documents"

    def test_they_can_be_given_at_the_start(self, chat, planned):
        options = ("--context-file", "schema.md", "--context-tokens", "80", "--context", "300", "--max-tokens", "9")
        chat([self.ASKED, "/drop all", self.ASKED], *options, "--no-expert")
        assert [each.shown and each.shown.budget for each in planned] == [80, None]

    def test_they_get_half_of_the_context_at_most_unless_said_otherwise(self, chat, planned):
        chat([self.ASKED], "--context-file", "schema.md", "--context", "400", "--max-tokens", "9", "--no-expert")
        assert planned[0].shown.budget == 200

    def test_an_earlier_turn_gives_way_and_comes_back(self, chat, planned):
        lines = [QUESTION, QUESTION, "/file schema.md 120", self.ASKED, "/drop all", "hm"]
        chat(lines, "--context", "260", "--max-tokens", "20", "--expert", "expert-sql")
        assert planned[2].left_out > 0
        assert planned[3].left_out < planned[2].left_out

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("/file nothing.md", "cannot be read"),
            ("/file bad.bin", "is binary"),
            ("/file short.md 63", "64 are the least"),
            ("/file short.md many", "takes a path"),
            ("/file short.md 100 more", "takes a path"),
            ("/drop", "drop what"),
            ("/drop short.md", "there is no document short.md"),
        ],
    )
    def test_what_is_refused(self, chat, line, message):
        done = chat([line])
        assert done.exception.exit_code == 2
        assert message in f"{done.exception} {done.exception.hint}"

    def test_the_bound_is_of_all_together(self, chat, monkeypatch):
        monkeypatch.setattr(context_files, "MAX_BYTES", 100)
        assert chat(["/file short.md", "/file short.md"]).exit_code == 0  # the same again is read anew
        assert "too large" in str(chat(["/file short.md", "/file schema.md"]).exception)
