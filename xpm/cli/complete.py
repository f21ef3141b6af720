"""Answers a shell's completion within the time of a keystroke: from a table of all commands,
without importing any of them.

``completions.json`` is the table; ``python -m xpm.cli.complete`` writes it anew from the commands themselves, and a
test holds the two together. The protocol is click's, whose scripts `xpm completion` prints: COMP_WORDS, COMP_CWORD,
a line or more an answer.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "_XPM_COMPLETE"
TABLE = Path(__file__).with_name("completions.json")
Item = tuple[str, str, str]  # (kind, value, help): kind is plain, file or dir


def answer() -> bool:
    """Print what completes the command line, if it is that which a shell asks for; False if not."""
    shell, _, wanted = os.environ.get(VARIABLE, "").partition("_")
    if wanted != "complete" or shell not in ("bash", "zsh", "fish"):
        return False
    words, incomplete = _asked(shell)
    for item in completions(words, incomplete):
        print(_formatted(shell, *item))
    return True


def completions(words: list[str], incomplete: str) -> Iterator[Item]:
    """What may stand in the place of ``incomplete`` after ``words``, which follow `xpm`."""
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    at, last = table, ""
    for word in words:
        name = word.partition("=")[0]
        if last:
            last = ""
        elif name.startswith("-") and "=" not in word:
            last = name if at["options"].get(name, {}).get("value") else ""
        elif word in at.get("commands", {}):
            at = at["commands"][word]
    if not last and incomplete.startswith("-") and "=" in incomplete:
        last, _, incomplete = incomplete.partition("=")
    if last:
        yield from _values(at["options"].get(last, {}).get("value", ""), incomplete)
    elif incomplete.startswith("-"):
        for name, option in at["options"].items():
            if name.startswith(incomplete):
                yield "plain", name, option["help"]
    elif "commands" in at:
        for name, command in at["commands"].items():
            if name.startswith(incomplete):
                yield "plain", name, command["help"]
    else:
        yield from _values(at["value"], incomplete)


def _values(kind: Any, incomplete: str) -> Iterator[Item]:
    """Choices as they are, names of installed packages, or the word that makes the shell look for files."""
    if kind in ("file", "dir"):
        yield kind, incomplete, ""
        return
    for value in _installed() if kind == "name" else kind if isinstance(kind, list) else ():
        if value.startswith(incomplete):
            yield "plain", value, ""


def _installed() -> list[str]:
    """The experts that the lock of this folder's environment names; none if it can't be read."""
    import tomllib

    here = Path.cwd()
    project = next((each for each in (here, *here.parents) if (each / "xpm.toml").is_file()), None)
    try:
        with ((project or _home() / "environment") / "xpm.lock").open("rb") as file:
            return [str(each["name"]) for each in tomllib.load(file).get("expert", [])]
    except (OSError, ValueError, KeyError, TypeError):  # a completion never fails
        return []


def _home() -> Path:
    if override := os.environ.get("XPM_HOME"):
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("xpm", appauthor=False))


def _asked(shell: str) -> tuple[list[str], str]:
    """(the complete words after `xpm`, the one that is being written)"""
    words, position = _split(os.environ.get("COMP_WORDS", "")), os.environ.get("COMP_CWORD", "")
    if shell == "fish":
        given, incomplete = words[1:], next(iter(_split(position)), "")
        return (given[:-1] if incomplete and given[-1:] == [incomplete] else given), incomplete
    number = int(position) if position.isdigit() else len(words)
    return words[1:number], words[number] if number < len(words) else ""


def _split(text: str) -> list[str]:
    import shlex

    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:  # a quote that is still open
        words.append(lexer.token)
    return words


def _formatted(shell: str, kind: str, value: str, text: str) -> str:
    if shell == "zsh":
        escaped = value.replace(":", "\\:") if text else value
        return f"{kind}\n{escaped}\n{text or '_'}"
    return f"{kind},{value}" + (f"\t{text}" if shell == "fish" and text else "")


def described() -> dict[str, Any]:
    """The table, from the commands themselves."""
    import click

    from xpm.cli.main import ALIASES, COMMANDS, cli

    table = _described(cli, "")
    context = click.Context(cli)
    for name in (*COMMANDS, *ALIASES):
        command = cli.get_command(context, name)
        summary = COMMANDS[ALIASES.get(name, name)][1]
        table["commands"][name] = _described(command, summary)
    return table


def _described(command: Any, summary: str) -> dict[str, Any]:
    import click

    options: dict[str, Any] = {}
    value: Any = ""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            kind = "" if parameter.is_flag else _kind(parameter) or "text"
            for name in (*parameter.opts, *parameter.secondary_opts):
                options[name] = {"help": (parameter.help or "").split(". ")[0], "value": kind}
        else:
            value = value or _kind(parameter)
    options["--help"] = {"help": "Show this message and exit.", "value": ""}
    found: dict[str, Any] = {"help": summary, "options": options, "value": value}
    if isinstance(command, click.Group):
        inner = {} if not summary else command.commands
        found["commands"] = {name: _described(each, each.get_short_help_str(80)) for name, each in inner.items()}
    return found


def _kind(parameter: Any) -> Any:
    import click

    from xpm.cli.completion import installed_names

    if parameter._custom_shell_complete is installed_names:
        return "name"
    if isinstance(parameter.type, click.Choice):
        return list(parameter.type.choices)
    if isinstance(parameter.type, click.Path):
        return "file" if parameter.type.file_okay else "dir"
    return ""


def write_table() -> None:
    TABLE.write_text(json.dumps(described(), indent=1, ensure_ascii=False, sort_keys=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_table()
    sys.stdout.write(f"wrote {TABLE}\n")
