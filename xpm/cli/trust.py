"""trust: which roots and publishers this environment believes."""

import click

from xpm.cli.context import here
from xpm.cli.index import ask_about
from xpm.cli.render import Console
from xpm.operations import indexes as operations

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("trust")
def trust_command() -> None:
    """Look at what this environment believes, and confirm roots."""


@trust_command.command("list")
@_json
@click.pass_obj
def trust_list_command(console: Console, as_json: bool) -> None:
    """List the indexes here with the roots they are trusted by.

    Example: xpm trust list
    """
    rows = [
        (name, source.fingerprint or "not confirmed", source.url) for name, source in here().project().indexes.items()
    ]
    if as_json:
        console.json([{"index": name, "fingerprint": fingerprint, "url": url} for name, fingerprint, url in rows])
    else:
        console.table(("index", "fingerprint", "url"), [*rows, ("embedded", "comes with xpm", "")])


@trust_command.command("confirm")
@click.argument("index")
@click.option("--fingerprint", default="", help="The fingerprint of the root to trust, as its maintainer publishes it.")
@click.pass_obj
def trust_confirm_command(console: Console, index: str, fingerprint: str) -> None:
    """Confirm the root of an index, after it was written into xpm.toml by hand or its maintainer started anew.

    Example: xpm trust confirm acme --fingerprint sha256:…
    """
    confirmed = operations.confirm_root(
        here(), index, progress=console, fingerprint=fingerprint, confirm=ask_about(console, index)
    )
    console.say(f"index {index} is trusted by the root {confirmed}")


@trust_command.command("publisher")
@click.argument("publisher")
@_json
@click.pass_obj
def trust_publisher_command(console: Console, publisher: str, as_json: bool) -> None:
    """Show a publisher with its keys, as an index vouches for them.

    Example: xpm trust publisher acme
    """
    index, found = operations.publisher(here(), publisher)
    if as_json:
        keys = [
            {
                "key_id": key.public.key_id,
                "public": key.public.text,
                "valid_from": key.valid_from,
                "valid_until": key.valid_until,
                "revoked_at": key.revoked_at,
            }
            for key in found.keys
        ]
        console.json({"publisher": found.namespace, "index": index, "contact": found.contact, "keys": keys})
        return
    console.card({"publisher": found.namespace, "index": index, "contact": found.contact, "homepage": found.homepage})
    rows = [
        (
            key.public.key_id,
            key.valid_from,
            key.valid_until or "",
            f"revoked {key.revoked_at}" if key.revoked_at else "",
        )
        for key in found.keys
    ]
    console.table(("key", "valid from", "valid until", ""), rows)
