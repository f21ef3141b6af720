"""list, path, info, search, verify."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from xpm.cli.completion import installed_names
from xpm.cli.context import here, options
from xpm.cli.entries import entry_document, marked
from xpm.cli.render import Console, size
from xpm.cli.review import rated
from xpm.errors import NotFoundError, UsageError
from xpm.lockfile import Editable, Indexed, LockedPackage, Made
from xpm.operations import inspect as operations
from xpm.operations.inspect import Found, Published
from xpm.operations.install import require_stored
from xpm.operations.installed import Installed, find_in, find_installed, installed, made_here, packages_of, yanked_among
from xpm.operations.verify import Checked, verify, verify_file
from xpm.search import Query, words_of
from xpm_index.entries import newest_of
from xpm_index.keys import PublicKey
from xpm_index.manifest import Manifest

_UNSIGNED = " (signed by nobody: the bytes that xpm.lock pins)"
_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.command("list")
@_json
@click.pass_obj
def list_command(console: Console, as_json: bool) -> None:
    """List the base and the experts of this environment, in composition order.

    Example: xpm list --json
    """
    environment = here()
    packages = installed(environment)
    yanked = yanked_among(environment, packages)
    rows = [(p.package.name, p.package.version, p.package.kind, *_publisher_and_index(p.package)) for p in packages]
    keys = ("name", "version", "kind", "publisher", "index")
    if as_json:
        listed = [dict(zip(keys, map(str, row), strict=True)) for row in rows]
        signed = [not isinstance(p.package.origin, Editable | Made) for p in packages]
        console.json(
            [e | {"yanked": yanked.get(e["name"]), "signed": known} for e, known in zip(listed, signed, strict=True)]
        )
    elif rows:
        console.table(keys, [(row[0], marked(row[1], row[0] in yanked), *row[2:]) for row in rows])
        for name, reason in yanked.items():
            console.warn(f"{name} was yanked: {reason}")
    else:
        console.say("nothing is installed here; look for experts with `xpm search`")


def _publisher_and_index(package: LockedPackage) -> tuple[str, str]:
    match package.origin:
        case Editable():
            return "local", ""
        case Made():
            return "unsigned (made here)", ""
        case Indexed(publisher=publisher, index=index):
            return publisher, index
        case pinned:
            return pinned.publisher, ""


@click.command("path")
@click.argument("name", shell_complete=installed_names)
@click.pass_obj
def path_command(console: Console, name: str) -> None:
    """Print the folder of an installed base or expert, unpacked and verified; look at it, and leave it as it is.

    Example: xpm path expert-sql
    """
    environment = here()
    packages = packages_of(environment, require_stored(environment, options(console)))
    console.out(str(find_in(packages, name).folder))


@click.command("info")
@click.argument("name", shell_complete=installed_names)
@_json
@click.pass_obj
def info_command(console: Console, name: str, as_json: bool) -> None:
    """Show an expert or a base: what the index says, and its manifest if that is at hand: quality and limitations too.

    Example: xpm info expert-sql
    """
    environment = here()
    if (made := made_here(environment, name)) is not None:
        _show_made(console, made, as_json=as_json)
        return
    found = operations.published(environment, name)
    own: Manifest | None = None
    try:
        own = find_installed(environment, name).manifest()
    except NotFoundError:
        console.detail(f"{found.entries[-1].name} is not installed here")
    if as_json:
        document: dict[str, Any] = {"index": found.index, "versions": [entry_document(each) for each in found.entries]}
        manifest = own or found.manifest
        console.json(
            document
            | {
                "installed": str(own.version) if own else None,
                "manifest": manifest.raw if manifest else None,
                "limitations": found.limitations,
                "vouched_for_by": list(found.publisher.vouchers()),
                "provenance": found.provenance.to_dict() if found.provenance else None,
                "rating": found.rating.to_dict() if found.rating else None,
            }
        )
        return
    console.card(_card(found, own))


def _show_made(console: Console, made: Installed, *, as_json: bool) -> None:
    """What no index knows, and nobody signed."""
    package, manifest, origin = made.package, made.manifest(), made.package.origin
    assert isinstance(origin, Made)
    if as_json:
        document: dict[str, Any] = {
            "index": None,
            "versions": [],
            "installed": str(package.version),
            "manifest": manifest.raw,
        }
        console.json(
            document | {"limitations": [], "signed": False, "source": origin.source, "made_of": origin.made_of}
        )
        return
    card: dict[str, object] = {
        "name": str(package),
        "description": manifest.description,
        "signed": "by nobody: made here, the bytes that xpm.lock pins",
        "made of": f"{origin.source}{f' at {origin.revision}' if origin.revision else ''} ({origin.made_of[:19]}…)",
        "for" if package.kind == "expert" else "variants": ", ".join(
            f"{a.base if package.kind == 'expert' else a.variant} ({size(a.size)})" for a in package.archives
        ),
        "license": manifest.license or ("not stated" if package.kind == "expert" else ""),
    }
    console.card(card)


@click.command("search")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--capability", default="", help="Only what states this capability.")
@click.option("--tag", default="", help="Only what has this tag.")
@click.option("--base", default="", help="Only what fits this base.")
@click.option("--publisher", default="", help="Only what this publisher made.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The most that are shown.")
@_json
@click.pass_obj
def search_command(
    console: Console,
    words: tuple[str, ...],
    capability: str,
    tag: str,
    base: str,
    publisher: str,
    limit: int,
    as_json: bool,
) -> None:
    """Search the indexes for experts and bases that match every word; all of them if there is none.

    Example: xpm search sql --base xpm-tiny
    """
    query = Query(words=words_of(words), capability=capability, tag=tag, base=base, publisher=publisher, limit=limit)
    found = operations.search(here(), query, options(console))
    if as_json:
        console.json([_found_document(each) for each in found])
    elif found:
        header = ("name", "version", "publisher", "size", "quality", "description")
        console.table(header, [_found_row(each) for each in found])
    else:
        console.say("nothing matches; fetch newer indexes with `xpm index update`")


def _found_row(found: Found) -> tuple[object, ...]:
    entry = found.entry
    if entry is None:
        return (found.name, "", "not verified", "", "", found.problem)
    quality = "" if found.quality is None else f"{found.quality:.0%}"
    version = marked(entry.version, entry.yanked is not None)
    largest = max(a.size for a in entry.archives)
    return entry.name, version, entry.publisher, size(largest), quality, entry.description


def _found_document(found: Found) -> dict[str, Any]:
    if found.entry is None:
        return {"index": found.index, "name": found.name, "verified": False, "problem": found.problem}
    return {"index": found.index, "verified": True, "quality": found.quality, **entry_document(found.entry)}


@click.command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--key", help="The publisher's public key (ed25519:…), if no index has it.")
@click.option("--repair", is_flag=True, help="Fetch again what was altered in the store, or is missing there.")
@_json
@click.pass_obj
def verify_command(console: Console, file: Path | None, key: str | None, repair: bool, as_json: bool) -> None:
    """Verify everything installed here, or one package file: digests, signatures, and that the publisher may sign.

    Example: xpm verify expert-sql-xpm-tiny.v0.1.0.expert
    """
    if file is None:
        checked = verify(here(), options(console), repair=repair)
    elif repair:
        raise UsageError("--repair is for what is installed, not for a file")
    else:
        found = verify_file(here(), file, PublicKey.parse(key) if key else None)
        name = f"{found.manifest.name} {found.manifest.version} by {found.signature.publisher}"
        checked = Checked(verified=(name,), provenance={name: found.provenance} if found.provenance else {})
    if as_json:
        provenance = {name: stated.to_dict() for name, stated in checked.provenance.items()}
        console.json(
            {
                "verified": checked.verified,
                "repaired": checked.repaired,
                "unsigned": checked.unsigned,
                "provenance": provenance,
            }
        )
        return
    for name in checked.verified:
        done = "repaired and verified" if name in checked.repaired else "verified"
        console.say(f"{done}: {name}{_UNSIGNED if name in checked.unsigned else ''}")
        if name in checked.provenance:
            console.say(f"  {checked.provenance[name].told()}")


def _card(found: Published, own: Manifest | None) -> dict[str, object]:
    entry, manifest = newest_of(found.entries), own or found.manifest
    yanked = {each.version for each in found.entries if each.yanked}
    return {
        "name": f"{entry.name} {marked(entry.version, entry.yanked is not None)}",
        "yanked": [f"{each.version}: {each.yanked.reason}" for each in found.entries if each.yanked],
        "description": entry.description,
        "publisher": f"{entry.publisher} (key {entry.key_id}, verified)",
        "vouched for by": [*found.publisher.vouchers()],
        "index": found.index,
        "versions": ", ".join(marked(each.version, each.yanked is not None) for each in found.entries),
        "for" if entry.kind == "expert" else "variants": ", ".join(
            f"{a.base if entry.kind == 'expert' else a.variant} ({size(a.size)})" for a in entry.archives
        ),
        "requires": [str(each) for each in entry.requires],
        "capabilities": ", ".join(entry.capabilities),
        "installed": marked(own.version, own.version in yanked) if own else "no",
        "license": manifest.license if manifest else "",
        "made": found.provenance.told() if found.provenance else "",
        "quality": _quality_lines(manifest.quality_metrics if manifest else {}),
        "reviews": rated(found.rating) if found.rating else "",
        "limitations": found.limitations,
    }


def _quality_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Figures as they are; a table of circles, as `xpm validate` writes it, with a line for each."""
    lines = []
    for key, value in metrics.items():
        if key == "circles" and isinstance(value, dict):
            for circle, found in value.items():
                if isinstance(found, dict):
                    lines.append(f"{circle}: " + ", ".join(f"{name} {number}" for name, number in found.items()))
        else:
            lines.append(f"{key}: {value}")
    return lines
