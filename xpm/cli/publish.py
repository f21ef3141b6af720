"""key, sign, publish, yank, unyank."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations import publish as operations
from xpm.operations.replay import replayed
from xpm.operations.upload import upload
from xpm_index.entries import Yanked
from xpm_index.urls import without_credentials
from xpm_index.versions import Version

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_index = click.option("--index", required=True, metavar="PATH|URL", help="The index repository.")
_keys = click.option("--key", "keys", multiple=True, help="A further key file to sign the index's metadata with.")
_dry_run = click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")


@click.group("key")
def key_command() -> None:
    """Make and list signing keys."""


@key_command.command("new")
@click.argument("name")
@_json
@click.pass_obj
def key_new_command(console: Console, name: str, as_json: bool) -> None:
    """Make an Ed25519 key pair; the private key stays in a file that only you can read.

    Example: xpm key new acme
    """
    info = operations.new_key(Home.of_user(), name)
    if as_json:
        console.json(
            {"name": info.name, "path": str(info.path), "public": info.public.text, "key_id": info.public.key_id}
        )
        return
    console.out(info.public.text)
    console.say(f"key {info.public.key_id} in {info.path}; keep a copy where only you can read it")


@key_command.command("list")
@_json
@click.pass_obj
def key_list_command(console: Console, as_json: bool) -> None:
    """List your keys.

    Example: xpm key list
    """
    keys = operations.list_keys(Home.of_user())
    if as_json:
        console.json([{"name": each.name, "key_id": each.public.key_id, "public": each.public.text} for each in keys])
    elif keys:
        console.table(
            ("name", "key id", "public key"), [(each.name, each.public.key_id, each.public.text) for each in keys]
        )
    else:
        console.say("there are no keys; make one with `xpm key new NAME`")


@click.command("sign")
@click.argument("archives", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--key", required=True, help="A key's name, or the path of its .json file.")
@click.option("--publisher", help="The publisher to sign for; by default the key's name.")
@click.pass_obj
def sign_command(console: Console, archives: tuple[Path, ...], key: str, publisher: str | None) -> None:
    """Sign package files in place.

    Example: xpm sign dist/expert-sql-xpm-tiny.v0.1.0.expert --key acme
    """
    if publisher is None and key.endswith(".json"):
        raise UsageError("say for whom with --publisher if the key is given as a file")
    signing_key = operations.load_key(Home.of_user(), key)
    for archive in archives:
        manifest = operations.sign(archive, signing_key, publisher or key)
        console.say(f"signed {manifest.name} {manifest.version} for {publisher or key} with key {signing_key.key_id}")


@click.command("publish")
@click.argument("archives", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--index", default="", metavar="PATH|URL", help="The index repository.")
@click.option("--to", default="", metavar="URL", help="A served marketplace to hand them in to, instead.")
@_keys
@click.option(
    "--source",
    multiple=True,
    metavar="URL",
    help="Where the file lies, instead of in the index; once per file, in order.",
)
@click.option("--run-examples", is_flag=True, help="Ask the expert for the examples of its README first.")
@_dry_run
@_json
@click.pass_obj
def publish_command(
    console: Console,
    archives: tuple[Path, ...],
    index: str,
    to: str,
    keys: tuple[str, ...],
    source: tuple[str, ...],
    run_examples: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish signed package files of one version: puts the entry in force, or proposes it on a
    branch to the maintainer.

    Example: xpm publish dist/expert-sql-xpm-tiny.v0.1.0.expert --index https://git.example.org/acme/index.git
    """
    if bool(index) == bool(to):
        raise UsageError("say where to publish", hint="either --index PATH|URL or --to URL")
    if to:
        if source or dry_run or run_examples:
            raise UsageError("a marketplace takes no --source, --dry-run or --run-examples")
        _upload(console, archives, to, keys, as_json=as_json)
        return
    if source and len(source) != len(archives):
        raise UsageError("give --source once per file, or not at all")
    sources = {path.name: url for path, url in zip(archives, source, strict=True)} if source else None
    home = Home.of_user()
    published = operations.publish(
        home,
        index,
        archives,
        keys=operations.keyring(home, keys),
        sources=sources,
        progress=console,
        dry_run=dry_run,
        replay=partial(replayed, here(), progress=console) if run_examples else None,
    )
    _render(console, published, index, "published", as_json=as_json, dry_run=dry_run)


def _upload(console: Console, archives: tuple[Path, ...], to: str, keys: tuple[str, ...], *, as_json: bool) -> None:
    home = Home.of_user()
    done = upload(home, to, archives, keys=tuple(operations.load_key(home, each) for each in keys), progress=console)
    if as_json:
        console.json(
            {"name": done.name, "version": done.version, "branch": done.branch, "findings": list(done.findings)}
        )
        return
    for each in done.findings:
        console.warn(f"[{each.get('rule')}] {each.get('where')}: {each.get('what')} ({each.get('hint')})")
    console.say(f"handed in: {done.name} {done.version} waits on branch {done.branch} for the maintainer")


@click.command("yank")
@click.argument("package", metavar="NAME@VERSION")
@_index
@click.option("--reason", required=True, help="Why, for those who have it locked.")
@click.option(
    "--severity",
    type=click.Choice(["low", "high", "critical"]),
    default="low",
    show_default=True,
    help="How much it matters.",
)
@click.option("--replacement", default="", help="What to use instead.")
@_keys
@_dry_run
@_json
@click.pass_obj
def yank_command(console: Console, /, reason: str, severity: str, replacement: str, **where: Any) -> None:
    """Take a version out of circulation: nobody new gets it, locks that have it keep it.

    Example: xpm yank expert-sql@1.2.0 --index ./index.git --reason "wrong training data"
    """
    yanked = Yanked(reason=reason, severity=severity, replacement=replacement)
    _set_yanked(console, yanked, **where)


@click.command("unyank")
@click.argument("package", metavar="NAME@VERSION")
@_index
@_keys
@_dry_run
@_json
@click.pass_obj
def unyank_command(console: Console, /, **where: Any) -> None:
    """Take a yank back.

    Example: xpm unyank expert-sql@1.2.0 --index ./index.git
    """
    _set_yanked(console, None, **where)


def _set_yanked(
    console: Console,
    yanked: Yanked | None,
    *,
    package: str,
    index: str,
    keys: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    name, at, version = package.partition("@")
    if not at:
        raise UsageError(f"{package} names no version", hint="write e.g. expert-sql@1.2.0")
    home = Home.of_user()
    published = operations.set_yanked(
        home,
        index,
        name,
        Version.parse(version),
        yanked,
        keys=operations.keyring(home, keys),
        progress=console,
        dry_run=dry_run,
    )
    _render(console, published, index, "yanked" if yanked else "unyanked", as_json=as_json, dry_run=dry_run)


def _render(
    console: Console, published: operations.Published, index: str, done: str, *, as_json: bool, dry_run: bool
) -> None:
    entry, place = published.entry, without_credentials(index)
    for each in published.findings:
        console.warn(f"[{each.rule}] {each.where}: {each.what} ({each.hint})")
    if as_json:
        console.json(
            {
                "name": entry.name,
                "version": str(entry.version),
                "publisher": entry.publisher,
                "branch": published.branch,
                "dry_run": dry_run,
                "findings": [each.to_dict() for each in published.findings],
            }
        )
    elif published.branch is None:
        console.say(
            f"{'would be ' if dry_run else ''}{done}: {entry.name} {entry.version} by {entry.publisher} in {place}"
        )
    else:
        console.say(
            f"{'would be ' if dry_run else ''}proposed: {entry.name} {entry.version} on branch {published.branch} of "
            f"{place}; its maintainer puts it in force with `xpm index accept {published.branch}`"
        )
