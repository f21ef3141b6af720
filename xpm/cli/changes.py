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
                "files": change.files,
                "base": f"{change.lock.base.name} {change.lock.base.version}",
                "experts": [f"{each.name} {each.version}" for each in change.lock.experts],
            }
        )
        return
    would = "would be " if dry_run else ""
    items = [("another base", [change.base] if change.base else []), (f"{would}added", change.added)]
    items += [(f"{would}removed", change.removed), (f"{would}updated", change.updated)]
    told = [f"{word}: {item}" for word, each in items for item in each]
    if not told:
        told = [f"{would}fetched: {item}" for item in change.fetched]
    if not told and change.files:
        told = [f"{would}written: {' and '.join(change.files)}; the experts stay the same"]
    if change.is_nothing:
        experts = f"{len(change.lock.experts)} experts on {change.lock.base.name}"
        told = [f"nothing {'would change' if dry_run else 'changed'}; {experts}"]
    for line in told:
        console.say(line)
