"""Where a prompt comes from, and what stands in front of it."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from xpm.cli.render import Console
from xpm.cli.text import read_prompt_text
from xpm.errors import UsageError


@pytest.fixture
def files(tmp_path, monkeypatch):
    (tmp_path / "a.sql").write_text("users(id)\n\n")
    (tmp_path / "b.txt").write_text("  notes\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"piped\n"), isatty=lambda: False))
    return lambda *names: [Path("-") if name == "-" else tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("given", "names", "wanted"),
    [
        ("Ask", (), "Ask"),
        (None, (), "piped"),
        ("-", (), "piped"),
        ("Ask", ("a.sql",), "a.sql:\nusers(id)\n\nAsk"),
        ("Ask", ("a.sql", "b.txt"), "a.sql:\nusers(id)\n\nb.txt:\nnotes\n\nAsk"),
        ("Ask", ("-",), "stdin:\npiped\n\nAsk"),
        ("-", ("a.sql",), "a.sql:\nusers(id)\n\npiped"),
        (None, ("a.sql",), "users(id)"),
        (None, ("a.sql", "b.txt"), "a.sql:\nusers(id)\n\nb.txt:\nnotes"),
    ],
)
def test_files_stand_in_front_under_their_names(given, names, wanted, files):
    assert read_prompt_text(given, None, files(*names)) == wanted


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [("-", ("-",), "read twice"), ("x", ("none",), "cannot be read"), ("x", ("latin.txt",), "latin.txt is not UTF-8")],
)
def test_a_file_that_is_none(given, names, message, files):
    with pytest.raises(UsageError, match=message):
        read_prompt_text(given, None, files(*names))


def test_what_a_model_writes_does_not_steer_a_terminal(capsys, monkeypatch):
    Console().answer("a\x1b]0;title\x07\tb\n")
    assert capsys.readouterr().out == "a\x1b]0;title\x07\tb\n"  # a pipe gets what was written
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Console().answer("a\x1b]0;title\x07\x9b\tb\n")
    assert capsys.readouterr().out == "a\ufffd]0;title\ufffd\ufffd\tb\n"
