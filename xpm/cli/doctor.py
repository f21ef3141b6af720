"""doctor, cache."""

import sys

import click

from xpm.cli.context import here
from xpm.cli.render import Console, size, use_colour
from xpm.config import DEVICES
from xpm.home import Home

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_COLOURS = {"ok": "32", "warning": "33", "problem": "31;1"}


@click.command("doctor")
@click.option("--online", is_flag=True, help="Ask the indexes' remotes too.")
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    help="Compare this device with the CPU, on the base here; then it may be used.",
)
@_json
@click.pass_obj
def doctor_command(console: Console, online: bool, device: str | None, as_json: bool) -> None:
    """Look for what may keep xpm from working, and say what to do; exit code 1 if there is a problem.

    Example: xpm doctor
    """
    from xpm.operations.doctor import examine, examine_device

    findings = examine(here(), online=online) if device is None else examine_device(here(), device, progress=console)
    if as_json:
        console.json([{"name": f.name, "status": f.status, "found": f.found, "advice": f.advice} for f in findings])
    for each in findings if not as_json else ():
        status = f"\x1b[{_COLOURS[each.status]}m{each.status}\x1b[0m" if use_colour(sys.stdout) else each.status
        console.out(f"{status}: {each.name}: {each.found}")
        if each.advice:
            console.out(f"  {each.advice}")
    if any(each.status == "problem" for each in findings):
        raise click.exceptions.Exit(1)


@click.group("cache")
def cache_command() -> None:
    """Look at and clean downloads: what was not finished, and adapters of hubs."""


@cache_command.command("list")
@_json
@click.pass_obj
def cache_list_command(console: Console, as_json: bool) -> None:
    """List the downloads that are kept: to go on with, or to install again.

    Example: xpm cache list
    """
    home = Home.of_user()
    found = [(path.relative_to(home.downloads).as_posix(), path.stat().st_size) for path in home.downloaded()]
    if as_json:
        console.json([{"file": name, "bytes": num_bytes} for name, num_bytes in found])
    elif found:
        console.table(("file", "size"), [(name, size(num_bytes)) for name, num_bytes in found])
    else:
        console.say("there are no downloads")


@cache_command.command("dir")
@click.pass_obj
def cache_dir_command(console: Console) -> None:
    """Print the folder of downloads.

    Example: xpm cache dir
    """
    console.out(str(Home.of_user().downloads))


@cache_command.command("clean")
@click.option("--dry-run", is_flag=True, help="Say what would go and change nothing.")
@click.pass_obj
def cache_clean_command(console: Console, dry_run: bool) -> None:
    """Remove all downloads; what is installed stays.

    Example: xpm cache clean
    """
    home = Home.of_user()
    with home.locked():
        paths = home.downloaded()
        total = sum(path.stat().st_size for path in paths)
        for path in paths if not dry_run else ():
            path.unlink(missing_ok=True)
    console.say(f"{'would remove' if dry_run else 'removed'} {len(paths)} downloads, {size(total)}")
