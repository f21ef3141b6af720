"""How a change of an environment is shown."""

from xpm.cli.render import Console
from xpm.lockfile import Made
from xpm.operations.applying import Change


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
                "base": str(change.lock.base),
                "experts": [str(each) for each in change.lock.experts],
            }
        )
        return
    would = "would be " if dry_run else ""
    items = [("another base", [change.base] if change.base else []), (f"{would}added", change.added)]
    items += [(f"{would}removed", change.removed), (f"{would}updated", change.updated)]
    lines = [f"{word}: {item}" for word, each in items for item in each]
    new = {item.partition(" ")[0] for item in (*change.added, *change.updated)}
    unsigned = [each.name for each in change.lock.experts if isinstance(each.origin, Made) and each.name in new]
    lines += [f"unsigned: {name}, pinned by the digest of its bytes" for name in unsigned]
    if not lines:
        lines = [f"{would}fetched: {item}" for item in change.fetched]
    if not lines and change.files:
        lines = [f"{would}written: {' and '.join(change.files)}; the experts stay the same"]
    if change.is_nothing:
        experts = f"{len(change.lock.experts)} experts on {change.lock.base.name}"
        lines = [f"nothing {'would change' if dry_run else 'changed'}; {experts}"]
    for line in lines:
        console.say(line)
