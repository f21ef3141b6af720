"""tree, why, outdated, versions, gc."""

import sys
from datetime import timedelta

import click

from xpm.cli.completion import installed_names
from xpm.cli.context import here, options
from xpm.cli.render import Console, size
from xpm.home import Home
from xpm.operations import collect as collecting
from xpm.operations import graph as operations
from xpm.operations.graph import Node
from xpm.operations.inspect import versions_of

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.command("tree")
@_json
@click.pass_obj
def tree_command(console: Console, as_json: bool) -> None:
    """Show what the project asks for, and what that requires in turn.

    Example: xpm tree
    """
    base, nodes = operations.tree(here())
    if as_json:
        console.json({"base": f"{base.name} {base.version}", "experts": [_document(node) for node in nodes]})
        return
    console.out(f"{base.name} {base.version} (base)")
    _draw(console, nodes, "")


def _draw(console: Console, nodes: tuple[Node, ...], indent: str) -> None:
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    middle, last, bar = ("|-- ", "`-- ", "|   ") if plain else ("├── ", "└── ", "│   ")
    for number, node in enumerate(nodes, start=1):
        is_last = number == len(nodes)
        mark = " (*)" if node.is_repeated else ""
        console.out(
            f"{indent}{last if is_last else middle}{node.package.name} {node.package.version} [{node.wanted}]{mark}"
        )
        _draw(console, node.children, indent + ("    " if is_last else bar))


def _document(node: Node) -> dict[str, object]:
    return {
        "name": node.package.name,
        "version": str(node.package.version),
        "wanted": node.wanted,
        "requires": [_document(child) for child in node.children],
    }


@click.command("why")
@click.argument("name", shell_complete=installed_names)
@_json
@click.pass_obj
def why_command(console: Console, name: str, as_json: bool) -> None:
    """Say by which requirements an expert is there.

    Example: xpm why expert-json
    """
    chains = operations.why(here(), name)
    if as_json:
        console.json([list(chain) for chain in chains])
    for chain in chains if not as_json else ():
        console.out(" → ".join(chain))


@click.command("outdated")
@click.option("--offline", is_flag=True, help="Open no socket.")
@_json
@click.pass_obj
def outdated_command(console: Console, offline: bool, as_json: bool) -> None:
    """List what is installed and not the newest, or yanked.

    Example: xpm outdated
    """
    found = operations.outdated(here(), options(console, offline=offline))
    if as_json:
        console.json(
            [
                {
                    "name": e.name,
                    "version": str(e.version),
                    "allowed": str(e.allowed),
                    "newest": str(e.newest),
                    "yanked": e.yanked,
                }
                for e in found
            ]
        )
    elif found:
        rows = [(e.name, e.version, e.allowed, e.newest, f"yanked: {e.yanked}" if e.yanked else "") for e in found]
        console.table(("name", "installed", "allowed", "newest", ""), rows)
    else:
        console.say("everything is up to date")


@click.command("versions")
@click.argument("name")
@_json
@click.pass_obj
def versions_command(console: Console, name: str, as_json: bool) -> None:
    """List the published versions of an expert or a base, newest first.

    Example: xpm versions expert-sql
    """
    index, entries = versions_of(here(), name, options(console))
    rows = [
        (
            e.version,
            e.published_at[:10],
            e.publisher,
            size(max(a.size for a in e.archives)),
            f"yanked: {e.yanked.reason}" if e.yanked else "",
        )
        for e in reversed(entries)
    ]
    if as_json:
        console.json(
            [
                {
                    "version": str(e.version),
                    "index": index,
                    "published_at": e.published_at,
                    "publisher": e.publisher,
                    "yanked": e.yanked.reason if e.yanked else None,
                }
                for e in reversed(entries)
            ]
        )
    else:
        console.table(("version", "published", "publisher", "size", ""), rows)


@click.command("gc")
@click.option(
    "--keep-undo",
    type=click.IntRange(0),
    default=collecting.KEEP_UNDO.days,
    show_default=True,
    metavar="DAYS",
    help="Keep what undoing younger changes needs.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go and change nothing.")
@_json
@click.pass_obj
def gc_command(console: Console, keep_undo: int, dry_run: bool, as_json: bool) -> None:
    """Remove from the store what no environment of this user needs.

    Example: xpm gc --dry-run
    """
    done = collecting.collect(Home.of_user(), keep_undo=timedelta(days=keep_undo), dry_run=dry_run)
    if as_json:
        console.json(
            {
                "removed": done.removed,
                "freed_bytes": done.freed_bytes,
                "kept": done.kept,
                "forgotten": done.forgotten,
                "dry_run": dry_run,
            }
        )
        return
    console.say(
        f"{'would remove' if dry_run else 'removed'} {len(done.removed)} packages, {size(done.freed_bytes)}; "
        f"{done.kept} are needed"
    )
    for folder in done.forgotten:
        console.detail(f"{folder} is gone")
