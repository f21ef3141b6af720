"""completion: the script that makes a shell complete xpm's commands, options and names."""

import click
from click.shell_completion import CompletionItem, get_completion_class

from xpm.cli.render import Console


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion_command(console: Console, shell: str) -> None:
    """Print the completion script of a shell.

    Example: xpm completion bash > ~/.local/share/bash-completion/completions/xpm
    """
    from xpm.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # click knows all three
    console.out(found(cli, {}, "xpm", "_XPM_COMPLETE").source())


def installed_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The experts of this environment, for the shell; none if they can't be read."""
    from xpm.cli.context import here

    try:
        lock = here().lockfile()
    except Exception:  # a completion never fails
        return []
    names = [package.name for package in lock.experts] if lock else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
