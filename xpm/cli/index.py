"""index: the indexes of an environment. Keeping one is in ``xpm.cli.maintain``."""

import sys

import click

from xpm.cli.context import here, options
from xpm.cli.render import Console, duration
from xpm.operations import indexes as operations
from xpm_index.urls import without_credentials

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("index")
def index_command() -> None:
    """Manage indexes: use those of others, or keep one."""


@index_command.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--fingerprint", default="", help="The fingerprint of the root to trust, as its maintainer publishes it.")
@click.option("--explicit", is_flag=True, help="Serve only the experts that xpm.toml pins to this index.")
@_json
@click.pass_obj
def index_add_command(console: Console, name: str, url: str, fingerprint: str, explicit: bool, as_json: bool) -> None:
    """Fetch an index, confirm its root, and use it in this environment. URL is that of a Git repository, or of the
    folder `sparse/` of an index on a web server.

    Example: xpm index add acme https://git.example.org/acme/index.git --fingerprint sha256:…
    """
    state = operations.add(
        here(),
        name,
        url,
        progress=console,
        fingerprint=fingerprint,
        explicit=explicit,
        confirm=ask_about(console, name),
    )
    if as_json:
        console.json(_state(state))
    else:
        names = "sparse, so it does not tell its names" if state.num_names is None else f"{state.num_names} names"
        console.say(f"added index {name} at {_short(state)}: {names}")


@index_command.command("list")
@_json
@click.pass_obj
def index_list_command(console: Console, as_json: bool) -> None:
    """List the indexes of this environment, in order of priority.

    Example: xpm index list
    """
    states = operations.states(here())
    if as_json:
        console.json([_state(each) for each in states])
        return
    rows = [
        (
            s.name,
            "sparse" if s.num_names is None else s.num_names,
            s.commit.removeprefix("sha256:")[:12],
            duration(s.age) + " ago" if s.url else "",
            s.url or "comes with xpm",
        )
        for s in states
    ]
    console.table(("name", "names", "commit", "fetched", "url"), rows)


@index_command.command("remove")
@click.argument("name")
@click.pass_obj
def index_remove_command(console: Console, name: str) -> None:
    """Stop using an index; forgets its copy and the root it was trusted by.

    Example: xpm index remove acme
    """
    operations.remove(here(), name)
    console.say(f"removed index {name}")


@index_command.command("update")
@click.argument("name", required=False)
@click.option("--allow-stale", is_flag=True, help="Accept an index whose metadata has expired.")
@_json
@click.pass_obj
def index_update_command(console: Console, name: str | None, allow_stale: bool, as_json: bool) -> None:
    """Fetch the newest state of one index, or of all; one that fails stops no other.

    Example: xpm index update
    """

    def done(fetched: str, is_new: bool) -> None:
        if not as_json:
            console.say(f"{fetched}: {'updated' if is_new else 'nothing new'}")

    changed = operations.update(here(), name, options(console, allow_stale=allow_stale), done=done)
    if as_json:
        console.json(changed)


def ask_about(console: Console, name: str) -> operations.Confirm:
    """Ask on the terminal whether a fingerprint is right; without a terminal, the answer is no."""

    def ask(fingerprint: str) -> bool:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        console.say(f"the root of index {name} has the fingerprint\n  {fingerprint}")
        return click.confirm("is that what its maintainer publishes?", err=True)

    return ask


def _short(state: operations.IndexState) -> str:
    """``commit 0123456789ab``, or ``snapshot …`` of a sparse index."""
    digest = state.commit.removeprefix("sha256:")
    return f"{'commit' if digest == state.commit else 'snapshot'} {digest[:12]}"


def _state(state: operations.IndexState) -> dict[str, object]:
    return {
        "name": state.name,
        "url": without_credentials(state.url),
        "commit": state.commit,
        "names": state.num_names,
        "fingerprint": state.fingerprint,
        "fetched_s_ago": round(state.age.total_seconds()),
    }
