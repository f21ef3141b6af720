"""index init, add-publisher, add, list, remove, update."""

from pathlib import Path

import click

from xpm.cli.context import here
from xpm.cli.render import Console
from xpm.home import Home
from xpm.operations import indexes as operations
from xpm.operations import publish as publishing
from xpm_index.git import without_credentials

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("index")
def index_command() -> None:
    """Manage indexes: use those of others, or keep one."""


@index_command.command("init")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The index's name for itself.")
@click.pass_obj
def index_init_command(console: Console, path: Path, name: str) -> None:
    """Make a new index: a bare Git repository at PATH.

    Example: xpm index init ./index.git --name acme
    """
    publishing.init_index(path, name).repo.close()
    console.say(f"made index {name} at {path}; register who may publish with `xpm index add-publisher`")


@index_command.command("add-publisher")
@click.argument("publisher")
@click.option("--index", required=True, type=click.Path(path_type=Path), help="The local index repository.")
@click.option("--key", required=True, help="The publisher's key: a name, or the path of its .json file.")
@click.option("--contact", default="", help="How to reach the publisher.")
@click.option("--homepage", default="")
@click.pass_obj
def index_add_publisher_command(
    console: Console, publisher: str, index: Path, key: str, contact: str, homepage: str
) -> None:
    """Register a publisher and its key in a local index.

    Example: xpm index add-publisher acme --index ./index.git --key acme
    """
    signing_key = publishing.load_key(Home.of_user(), key)
    publishing.add_publisher(index, publisher, signing_key, contact=contact, homepage=homepage)
    console.say(f"registered {publisher} with key {signing_key.key_id} in {index}")


@index_command.command("add")
@click.argument("name")
@click.argument("url")
@click.pass_obj
def index_add_command(console: Console, name: str, url: str) -> None:
    """Fetch an index and use it in this environment.

    Example: xpm index add acme https://git.example.org/acme/index.git
    """
    state = operations.add(here(), name, url, progress=console)
    console.say(f"added index {name} at commit {state.commit[:12]}: {state.num_names} names")


@index_command.command("list")
@_json
@click.pass_obj
def index_list_command(console: Console, as_json: bool) -> None:
    """List the indexes of this environment, in order of priority.

    Example: xpm index list
    """
    states = operations.states(here())
    if as_json:
        console.json(
            [
                {"name": s.name, "url": without_credentials(s.url), "commit": s.commit, "names": s.num_names}
                for s in states
            ]
        )
        return
    rows = [(s.name, s.num_names, s.commit[:12], without_credentials(s.url) or "comes with xpm") for s in states]
    console.table(("name", "names", "commit", "url"), rows)


@index_command.command("remove")
@click.argument("name")
@click.pass_obj
def index_remove_command(console: Console, name: str) -> None:
    """Stop using an index; forgets its copy and the publishers accepted through it.

    Example: xpm index remove acme
    """
    operations.remove(here(), name)
    console.say(f"removed index {name}")


@index_command.command("update")
@click.argument("name", required=False)
@_json
@click.pass_obj
def index_update_command(console: Console, name: str | None, as_json: bool) -> None:
    """Fetch the newest state of one index, or of all.

    Example: xpm index update
    """
    changed = operations.update(here(), name, progress=console)
    if as_json:
        console.json(changed)
        return
    for each, is_new in changed.items():
        console.say(f"{each}: {'updated' if is_new else 'nothing new'}")
