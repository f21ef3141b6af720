"""How a change of an environment is shown."""

from xpm.cli.render import Console
from xpm.operations.install import Change


def render_change(console: Console, change: Change, *, as_json: bool, dry_run: bool) -> None:
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
