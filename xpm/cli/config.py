"""config: settings of this user."""

import click

from xpm.cli.render import Console
from xpm.config import SETTINGS, Config
from xpm.home import Home

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("config")
def config_command() -> None:
    """Look at and change the settings of this user."""


@config_command.command("list")
@_json
@click.pass_obj
def config_list_command(console: Console, as_json: bool) -> None:
    """List every setting with its value and what it means.

    Example: xpm config list
    """
    config = Config.read(Home.of_user().root)
    if as_json:
        console.json({key: config.get(key) for key in SETTINGS})
        return
    rows = [
        (key, _shown(config.get(key)), "" if config.get(key) != each.default else "default", each.meaning)
        for key, each in SETTINGS.items()
    ]
    console.table(("setting", "value", "", "meaning"), rows)


@config_command.command("get")
@click.argument("setting")
@_json
@click.pass_obj
def config_get_command(console: Console, setting: str, as_json: bool) -> None:
    """Print one setting.

    Example: xpm config get network.jobs
    """
    value = Config.read(Home.of_user().root).get(setting)
    if as_json:
        console.json({setting: value})
    else:
        console.out(_shown(value))


@config_command.command("set")
@click.argument("setting")
@click.argument("value")
@click.pass_obj
def config_set_command(console: Console, setting: str, value: str) -> None:
    """Change one setting.

    Example: xpm config set network.jobs 8
    """
    home = Home.of_user()
    with home.locked():
        Config.read(home.root).set(home.root, setting, value)
    console.say(f"{setting} is {value}")


@config_command.command("unset")
@click.argument("setting")
@click.pass_obj
def config_unset_command(console: Console, setting: str) -> None:
    """Go back to a setting's default.

    Example: xpm config unset network.jobs
    """
    home = Home.of_user()
    with home.locked():
        Config.read(home.root).set(home.root, setting, None)
    console.say(f"{setting} is {_shown(SETTINGS[setting].default)}, the default")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
