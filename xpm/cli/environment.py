"""init, new, install, uninstall, update, lock, sync, undo, redo."""

from pathlib import Path
from typing import Any

import click

from xpm.cli.changes import render_change
from xpm.cli.completion import installed_names
from xpm.cli.context import here, options
from xpm.cli.render import Console
from xpm.operations import install as operations
from xpm.operations import undo as undoing
from xpm.operations.applying import Change
from xpm.parse_source import parse_source
from xpm_index.keys import PublicKey
from xpm_index.publishers import parse_time

_json = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")
_offline = click.option("--offline", is_flag=True, help="Open no socket.")
_allow_stale = click.option("--allow-stale", is_flag=True, help="Believe indexes whose metadata has expired.")
_oldest = click.option(
    "--prefer-oldest", "--minimal", "prefer_oldest", is_flag=True, help="Take the lowest versions that fit."
)


def _time(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """A day or a time as given on the command line; a day means its end."""
    if text is None:
        return None
    return parse_time(f"{text}T23:59:59Z" if len(text) == len("2026-01-31") else text)


_exclude_newer = click.option(
    "--exclude-newer", metavar="DATE", callback=_time, help="Ignore what was published after that day or time."
)


@click.command("init")
@click.pass_obj
def init_command(console: Console) -> None:
    """Start a project in this folder: writes xpm.toml.

    Example: xpm init
    """
    path = operations.init(Path.cwd())
    console.say(f"wrote {path.name}; add experts with `xpm install NAME`")


@click.command("install")
@click.argument("sources", nargs=-1, metavar="[NAME[@RANGE]|git+URL@TAG|URL|FILE|FOLDER|hf:OWNER/NAME]...")
@click.option("--editable", is_flag=True, help="Use a publisher's folder where it lies.")
@click.option("--key", help="The public key (ed25519:…) of the publisher, for what comes through no index.")
@click.option("--name", help="What the expert made of an adapter is to be called; by default as its folder or id.")
@_oldest
@_exclude_newer
@_allow_stale
@_json
@_dry_run
@_offline
@click.pass_obj
def install_command(
    console: Console,
    /,
    sources: tuple[str, ...],
    editable: bool,
    key: str | None,
    name: str | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Add experts to this environment: resolve, fetch, verify, store, lock. Without arguments, install what is locked.

    An adapter as PEFT saved it (a folder, or hf:OWNER/NAME@REVISION on a hub) is made an expert
    here, which nobody signs.

    Example: xpm install expert-sql 'expert-json@>=0.1,<1'
    """
    environment, chosen = here(), options(console, **how)
    if not sources:
        change = operations.sync(environment, options(console, offline=chosen.offline, dry_run=chosen.dry_run))
    else:
        wanted = [parse_source(text, folder=environment.folder, editable=editable, cwd=Path.cwd()) for text in sources]
        change = operations.install(
            environment, wanted, chosen, key=PublicKey.parse(key) if key else None, called=name or ""
        )
    render_change(console, change, as_json=as_json, dry_run=chosen.dry_run)


@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=installed_names)
@_json
@_dry_run
@click.pass_obj
def uninstall_command(console: Console, names: tuple[str, ...], as_json: bool, dry_run: bool) -> None:
    """Remove experts from this environment.

    Example: xpm uninstall expert-json
    """
    change = operations.uninstall(here(), names, options(console, dry_run=dry_run))
    render_change(console, change, as_json=as_json, dry_run=dry_run)


@click.command("update")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=installed_names)
@click.option("--bump", is_flag=True, help="First raise the ranges in xpm.toml to the newest versions there are.")
@_oldest
@_exclude_newer
@_allow_stale
@_json
@_dry_run
@click.pass_obj
def update_command(console: Console, /, names: tuple[str, ...], bump: bool, as_json: bool, **how: Any) -> None:
    """Fetch the indexes and take the newest versions that xpm.toml allows.

    Example: xpm update expert-sql
    """
    chosen = options(console, **how)

    def done(change: Change) -> None:  # what follows may still fail, and prints a document of its own then
        if not as_json:
            render_change(console, change, as_json=False, dry_run=chosen.dry_run)

    change = operations.update(here(), names, chosen, bump=bump, done=done)
    if as_json:
        render_change(console, change, as_json=True, dry_run=chosen.dry_run)


@click.command("lock")
@click.option("--locked", is_flag=True, help="Fail if xpm.lock would change.")
@_oldest
@_exclude_newer
@_allow_stale
@_json
@_dry_run
@click.pass_obj
def lock_command(console: Console, /, locked: bool, as_json: bool, **how: Any) -> None:
    """Make xpm.lock agree with xpm.toml without installing anything.

    Example: xpm lock --locked
    """
    chosen = options(console, **how)
    change = operations.lock(here(), chosen, locked=locked)
    render_change(console, change, as_json=as_json, dry_run=chosen.dry_run)


@click.command("sync")
@click.option("--locked", is_flag=True, help="Fail if xpm.lock does not agree with xpm.toml.")
@click.option("--frozen", is_flag=True, help="Take xpm.lock as it is, without looking at xpm.toml.")
@click.option("--reinstall", is_flag=True, help="Fetch again what is in the store already.")
@_offline
@_json
@_dry_run
@click.pass_obj
def sync_command(console: Console, /, locked: bool, frozen: bool, reinstall: bool, as_json: bool, **how: Any) -> None:
    """Make this environment what xpm.lock names; what is missing or was altered is fetched, nothing else stays in it.

    Example: xpm sync --frozen
    """
    chosen = options(console, **how)
    change = operations.sync(here(), chosen, locked=locked, frozen=frozen, reinstall=reinstall)
    render_change(console, change, as_json=as_json, dry_run=chosen.dry_run)


@click.command("undo")
@_json
@_dry_run
@click.pass_obj
def undo_command(console: Console, as_json: bool, dry_run: bool) -> None:
    """Take back the last change of this environment: xpm.toml, xpm.lock, and what they name.

    Example: xpm undo
    """
    undone = undoing.undo(here(), options(console, dry_run=dry_run))
    _render_undone(console, undone, "undone", as_json=as_json, dry_run=dry_run)


@click.command("redo")
@_json
@_dry_run
@click.pass_obj
def redo_command(console: Console, as_json: bool, dry_run: bool) -> None:
    """Make the last change again that was undone.

    Example: xpm redo
    """
    redone = undoing.redo(here(), options(console, dry_run=dry_run))
    _render_undone(console, redone, "done again", as_json=as_json, dry_run=dry_run)


def _render_undone(console: Console, undone: undoing.Undone, word: str, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        console.json({"command": undone.command, "time": undone.time, "dry_run": dry_run, "experts": undone.experts})
    else:
        console.say(f"{'would be ' if dry_run else ''}{word}: xpm {undone.command} ({undone.time})")
