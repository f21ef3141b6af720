"""market: the pages of an index, as files or served."""

import sys
from pathlib import Path

import click

from xpm.cli.context import here, options
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.operations import market as operations
from xpm.operations.market_serve import DEFAULT_PORT, MarketOptions, serve_market
from xpm.project import EMBEDDED

_index = click.argument("index", default=EMBEDDED, metavar="[INDEX]")
_clone = click.option(
    "--clone-url",
    default="",
    metavar="URL",
    help="Where others clone the index from, for the commands that pages show; by default where it was fetched from.",
)
_fingerprint = click.option(
    "--fingerprint", default="", help="The root to trust; of a path or URL by default the newest that it has."
)


@click.group("market")
def market_command() -> None:
    """Show an index to people: what it has, by whom, how good, and who vouches for it."""


@market_command.command("build")
@_index
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
@click.option("--url", default="", metavar="URL", help="Where the site will be; without it there is no sitemap.")
@_clone
@_fingerprint
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def market_build_command(
    console: Console, index: str, out: Path, url: str, clone_url: str, fingerprint: str, as_json: bool
) -> None:
    """Write the pages of an index into a folder that any web server can serve. INDEX is a name, a path or a URL; by
    default what comes with xpm. Only what changed since the last time is written. The folder `sparse/` in it is the
    index for users without Git.

    Example: xpm market build ./acme.git --out site --url https://experts.example.org/
    """
    built = operations.build(
        here(), index, out, url=url, clone_url=clone_url, fingerprint=fingerprint, options=options(console)
    )
    for name, reason in built.problems.items():
        console.warn(f"{name} is not shown: {reason}")
    if as_json:
        console.json(
            {
                "pages": built.num_pages,
                "written": built.num_rendered,
                "removed": built.num_removed,
                "problems": dict(built.problems),
            }
        )
        return
    removed = f", {built.num_removed} files removed" if built.num_removed else ""
    console.say(f"{built.num_pages} pages in {out}: {built.num_rendered} written{removed}")


@market_command.command("serve")
@_index
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes a free one."
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Answer to this host name too. Repeatable.")
@click.option("--uploads", is_flag=True, help="Let publishers hand in archives, staged as branches of the index.")
@click.option("--run-examples", is_flag=True, help="Ask what is handed in for the examples of its README first.")
@click.option("--try", "trials", is_flag=True, help="Let visitors ask the experts for the base that is installed here.")
@_clone
@_fingerprint
@click.pass_obj
def market_serve_command(
    console: Console,
    index: str,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    uploads: bool,
    run_examples: bool,
    trials: bool,
    clone_url: str,
    fingerprint: str,
) -> None:
    """Serve the pages of an index, with a search over everything in it. INDEX is a name or the path of a repository,
    whose new commits are seen at once. The address is printed once requests are answered.

    Example: xpm market serve ./acme.git --port 8000
    """
    if run_examples and not uploads:
        raise UsageError("--run-examples looks at what is handed in", hint="give --uploads too")
    market = MarketOptions(
        host=host,
        port=port,
        allowed_hosts=hosts,
        clone_url=clone_url,
        fingerprint=fingerprint,
        takes_uploads=uploads,
        runs_examples=run_examples,
        runs_trials=trials,
    )

    def ready(address: str) -> None:
        console.out(address)
        sys.stdout.flush()

    serve_market(here(), index, market, ready=ready, options=options(console))
