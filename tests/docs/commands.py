"""The reference of all commands, from click's own commands, and the table of settings."""

import textwrap
from collections.abc import Iterator

import click

from xpm.cli.main import ALIASES, GROUPS, cli
from xpm.config import SETTINGS, Setting

_PLAIN = {"text": "text", "integer": "a whole number", "float": "a number"}


def command_reference() -> str:
    """Markdown: a heading per group of `xpm --help`, below it one per command, with its usage, options and example."""
    parts: list[str] = []
    for heading, names in GROUPS.items():
        parts.append(f"## {heading}")
        for name in names.split():
            for path, command in _leaves(name):
                parts += _described(path, command)
    return "\n\n".join(parts)


def settings_table() -> str:
    """Markdown: every setting of `xpm config`."""
    rows = [
        f"| `{key}` | {_shown(each.default)} | {_allowed(each)} | {each.meaning} |" for key, each in SETTINGS.items()
    ]
    return "\n".join(["| setting | default | values | meaning |", "|---|---|---|---|", *rows])


def _leaves(name: str) -> Iterator[tuple[str, click.Command]]:
    """(path, command) of what can be called: a group's commands, and the group itself if it does something."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    yield from leaves(name, command)


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield from leaves(f"{path} {inner}", each)


def _described(path: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=f"xpm {path}")
    text, _, example = (command.help or "").partition("Example: ")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    others = [each for each, known in ALIASES.items() if known == path]
    told = [f"### `xpm {path}`", f"```\n{usage}\n```", _wrapped(text + _also(others))]
    rows = [_row(each, context) for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if rows:
        told.append("\n".join(["| option | value | meaning |", "|---|---|---|", *rows]))
    return [*told, f"    {' '.join(example.split())}"]


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), width=100, break_long_words=False, break_on_hyphens=False)


def _also(others: list[str]) -> str:
    return f" Also: {', '.join(f'`xpm {each}`' for each in others)}." if others else ""


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{each}`" for each in [*option.opts, *option.secondary_opts])
    meaning = " ".join((option.help or "").split())
    shown = option.get_help_extra(context).get("default")
    default = f"{shown} by default" if shown else ""
    notes = "required" if option.required else default
    told = f"{meaning.removesuffix('.')}; {notes}." if meaning and notes else meaning or notes
    return f"| {names} | {_value(option)} | {told} |".replace("|  |", "| |")


def _value(option: click.Option) -> str:
    """What follows the option, without bars, which would end the cell."""
    if option.is_flag:
        return ""
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(str(each) for each in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"{kind.min} to {kind.max}" if kind.max is not None else f"{kind.min} or more"
    name = option.metavar or _PLAIN.get(kind.name, kind.name)
    return name.replace("|", " or ")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _allowed(setting: Setting) -> str:
    if isinstance(setting.default, bool):
        return "true, false"
    if isinstance(setting.default, int):
        return f"{setting.low} to {setting.high}"
    return ", ".join(setting.choices)
