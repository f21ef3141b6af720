"""key, sign, publish."""

from pathlib import Path

import click

from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations import publish as operations

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


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
@click.option("--index", required=True, type=click.Path(path_type=Path), help="The local index repository.")
@click.option("--key", required=True, help="The key the files are signed with.")
@click.option(
    "--source",
    multiple=True,
    metavar="URL",
    help="Where the file lies, instead of in the index; once per file, in order.",
)
@_json
@click.pass_obj
def publish_command(
    console: Console, archives: tuple[Path, ...], index: Path, key: str, source: tuple[str, ...], as_json: bool
) -> None:
    """Publish signed package files of one version into a local index: adds the entry and commits.

    Example: xpm publish dist/expert-sql-xpm-tiny.v0.1.0.expert --index ./index.git --key acme
    """
    if source and len(source) != len(archives):
        raise UsageError("give --source once per file, or not at all")
    sources = {path.name: url for path, url in zip(archives, source, strict=True)} if source else None
    entry = operations.publish(index, archives, operations.load_key(Home.of_user(), key), sources=sources)
    if as_json:
        console.json({"name": entry.name, "version": str(entry.version), "publisher": entry.publisher})
    else:
        console.say(f"published {entry.name} {entry.version} by {entry.publisher} in {index}")
