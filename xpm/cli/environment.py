"""init, install, uninstall, update, lock, sync."""

from pathlib import Path

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.operations import install as operations
from xpm.operations.install import Change
from xpm_index.requirements import Requirement

_json = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")
_offline = click.option("--offline", is_flag=True, help="Open no socket.")


@click.command("init")
@click.pass_obj
def init_command(console: Console) -> None:
    """Start a project in this folder: writes xpm.toml.

    Example: xpm init
    """
    path = operations.init(Path.cwd())
    console.say(f"wrote {path.name}; add experts with `xpm install NAME`")


@click.command("install")
@click.argument("requirements", nargs=-1, required=True, metavar="NAME[@RANGE]...")
@_json
@_dry_run
@_offline
@click.pass_obj
def install_command(
    console: Console, requirements: tuple[str, ...], as_json: bool, dry_run: bool, offline: bool
) -> None:
    """Add experts to this environment: resolve, fetch, verify, store, lock.

    Example: xpm install expert-sql 'expert-json@>=0.1,<1'
    """
    wanted = [Requirement.parse(text) for text in requirements]
    change = operations.install(here(), wanted, progress=console, offline=offline, dry_run=dry_run)
    _render(console, change, as_json=as_json, dry_run=dry_run)


@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_json
@_dry_run
@click.pass_obj
def uninstall_command(console: Console, names: tuple[str, ...], as_json: bool, dry_run: bool) -> None:
    """Remove experts from this environment.

    Example: xpm uninstall expert-json
    """
    change = operations.uninstall(here(), names, progress=console, dry_run=dry_run)
    _render(console, change, as_json=as_json, dry_run=dry_run)


@click.command("update")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json
@_dry_run
@click.pass_obj
def update_command(console: Console, names: tuple[str, ...], as_json: bool, dry_run: bool) -> None:
    """Fetch the indexes and take the newest versions that xpm.toml allows.

    Example: xpm update expert-sql
    """
    change = operations.update(here(), names, progress=console, dry_run=dry_run)
    _render(console, change, as_json=as_json, dry_run=dry_run)


@click.command("lock")
@click.option("--locked", is_flag=True, help="Fail if xpm.lock would change.")
@_json
@_dry_run
@click.pass_obj
def lock_command(console: Console, locked: bool, as_json: bool, dry_run: bool) -> None:
    """Make xpm.lock agree with xpm.toml without installing anything.

    Example: xpm lock --locked
    """
    change = operations.lock(here(), progress=console, locked=locked, dry_run=dry_run)
    _render(console, change, as_json=as_json, dry_run=dry_run)


@click.command("sync")
@click.option("--locked", is_flag=True, help="Fail if xpm.lock does not agree with xpm.toml.")
@click.option("--frozen", is_flag=True, help="Take xpm.lock as it is, without looking at xpm.toml.")
@_offline
@_json
@_dry_run
@click.pass_obj
def sync_command(console: Console, locked: bool, frozen: bool, offline: bool, as_json: bool, dry_run: bool) -> None:
    """Install exactly what xpm.lock names.

    Example: xpm sync --frozen
    """
    change = operations.sync(here(), progress=console, locked=locked, frozen=frozen, offline=offline, dry_run=dry_run)
    _render(console, change, as_json=as_json, dry_run=dry_run)


def _render(console: Console, change: Change, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        console.json(
            {
                "dry_run": dry_run,
                "added": change.added,
                "removed": change.removed,
                "updated": change.updated,
                "fetched": change.fetched,
                "base": f"{change.lock.base.name} {change.lock.base.version}",
                "experts": [f"{each.name} {each.version}" for each in change.lock.experts],
            }
        )
        return
    would = "would be " if dry_run else ""
    for word, items in (("added", change.added), ("removed", change.removed), ("updated", change.updated)):
        for item in items:
            console.say(f"{would}{word}: {item}")
    if not (change.added or change.removed or change.updated):
        console.say(
            f"nothing {'would change' if dry_run else 'changed'}; {len(change.lock.experts)} experts on {change.lock.base.name}"
        )
