"""serve: an HTTP server over what is installed, and the keys of those who may use it."""

import sys
from pathlib import Path

import click

from xpm.cli.answering import rope_setting
from xpm.cli.completion import installed_names
from xpm.cli.context import here
from xpm.cli.kv_cache import cache_options, cache_setting
from xpm.cli.render import Console
from xpm.cli.sizes import SIZE
from xpm.config import DEVICES, Config
from xpm.errors import UsageError
from xpm.operations.answering import RunOptions
from xpm.operations.local import is_path
from xpm.operations.serve import DEFAULT_PORT, JOBS_FILE, KEYS_FILE, ServeOptions, serve
from xpm.operations.serve_ray import serve_by_ray
from xpm_runtime.server.keys import MAX_PRIORITY, SCOPES, KeyFile
from xpm_runtime.server.logs import log_as_json


@click.group("serve", invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes a free one."
)
@click.option("--base", default="", metavar="PATH", help="Serve this .base file or folder instead of the base here.")
@click.option(
    "--expert",
    "-e",
    "experts",
    multiple=True,
    metavar="NAME|PATH",
    shell_complete=installed_names,
    help="Serve this expert, and no other that is not named. Repeatable; by default all that are installed.",
)
@click.option("--max-lanes", type=click.IntRange(1, 1024), default=8, show_default=True, help="Answers at a time.")
@click.option("--max-queued", type=click.IntRange(1), default=256, show_default=True, help="Requests that may wait.")
@click.option(
    "--context", "context_tokens", type=click.IntRange(1), help="Tokens of prompt and answer together; 2048 by default."
)
@click.option(
    "--rope",
    metavar="KIND[:FACTOR]",
    help="Scale positions where prompt and answer are longer than the base was made for, e.g. yarn.",
)
@cache_options
@click.option("--device", type=click.Choice(DEVICES), help="By default the setting run.device.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the setting run.threads.")
@click.option("--memory", type=SIZE, help="Stay within so much memory, e.g. 800MB; refuse rather than exceed it.")
@click.option(
    "--speculative", type=click.Choice(["ngram"]), help="Guess ahead while one answer runs alone, as `xpm run` does."
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Answer to this host name too. Repeatable.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(1), default=600, show_default=True, help="Seconds of a request."
)
@click.option(
    "--drain", "drain_s", type=click.FloatRange(0), default=30, show_default=True, help="Seconds to end what runs."
)
@click.option(
    "--jobs",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where jobs are kept; by default in xpm's home. Servers that run at the same time need one each.",
)
@click.option(
    "--replicas",
    metavar="MIN[-MAX]",
    help="So many servers behind the address, by Ray Serve (the ray extra); requests go where their experts are.",
)
@click.pass_context
def serve_command(
    context: click.Context,
    host: str,
    port: int,
    base: str,
    experts: tuple[str, ...],
    max_lanes: int,
    max_queued: int,
    context_tokens: int | None,
    rope: str | None,
    kv_cache: str | None,
    window: int | None,
    sinks: int | None,
    device: str | None,
    threads: int | None,
    memory: int | None,
    speculative: str | None,
    hosts: tuple[str, ...],
    timeout_s: float,
    drain_s: float,
    jobs: Path | None,
    replicas: str | None,
) -> None:
    """Serve what is installed over HTTP, in the protocols of OpenAI, Anthropic and ollama. The address is printed once
    requests are answered; Ctrl-C or SIGTERM lets what runs end. Other machines are served only if there are keys.

    Example: xpm serve --port 8000
    """
    if context.invoked_subcommand is not None:
        return
    console: Console = context.obj
    if base and not is_path(base):
        raise UsageError(f"--base {base} is no path", hint=f"write ./{base}, or `xpm base add {base}` to use it here")
    environment = here()
    config = Config.read(environment.home.root)
    run = RunOptions(
        experts=experts or None,
        base=base,
        device=device or str(config.get("run.device")),
        threads=threads or config.number("run.threads") or None,
        memory=memory,
        context=context_tokens,
        rope=rope_setting(rope),
        cache=cache_setting(kv_cache, window, sinks),
        sampling={"speculative": speculative} if speculative else {},
    )
    options = ServeOptions(
        run=run,
        host=host,
        port=port,
        max_lanes=max_lanes,
        max_queued=max_queued,
        allowed_hosts=hosts,
        timeout_s=timeout_s,
        drain_s=drain_s,
        jobs=None if replicas else jobs or environment.home.root / JOBS_FILE,
    )

    def ready(address: str) -> None:
        console.out(address)
        sys.stdout.flush()

    if replicas is None:
        log_as_json()
        serve(environment, options, progress=console, ready=ready)
        return
    if jobs is not None:
        raise UsageError("replicas keep no jobs", hint="leave --jobs or --replicas out")
    least, most = _replicas(replicas)
    serve_by_ray(environment, options, min_replicas=least, max_replicas=most, progress=console, ready=ready)


def _replicas(text: str) -> tuple[int, int]:
    """(the least, the most) of "2" or "1-8"; raises UsageError."""
    least, _, most = text.partition("-")
    if least.isdigit() and (most.isdigit() or "-" not in text) and 1 <= int(least) <= int(most or least) <= 1000:
        return int(least), int(most or least)
    raise UsageError(f"--replicas {text} is no number of servers", hint="write 2, or 1-8 for as many as are needed")


@serve_command.group("keys")
def keys_command() -> None:
    """Make and revoke the keys of a server's clients. Once there is one, every request needs one.

    Example: xpm serve keys list
    """


@keys_command.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=("infer",),
    show_default=True,
    help="What it may do; repeatable.",
)
@click.option("--requests-per-minute", type=click.IntRange(1), help="More are refused.")
@click.option("--tokens-per-minute", type=click.IntRange(1), help="More are refused.")
@click.option(
    "--max-priority",
    type=click.IntRange(0, MAX_PRIORITY),
    default=MAX_PRIORITY,
    show_default=True,
    help="Requests get no higher one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def keys_add_command(
    console: Console,
    name: str,
    scopes: tuple[str, ...],
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    max_priority: int,
    as_json: bool,
) -> None:
    """Make a key and print it, this once: only its hash is kept. A server that runs knows it at once.

    Example: xpm serve keys add notebook --tokens-per-minute 20000
    """
    secret, key = _keys().add(
        name,
        scopes=scopes,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_priority=max_priority,
    )
    if as_json:
        console.json({"name": key.name, "key": secret, "scopes": list(key.scopes)})
    else:
        console.out(secret)


@keys_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def keys_list_command(console: Console, as_json: bool) -> None:
    """List the keys by name, without what opens anything.

    Example: xpm serve keys list
    """
    keys = _keys().active()
    if as_json:
        console.json([each.shown for each in keys])
    else:
        rows = [
            (
                each.name,
                " ".join(each.scopes),
                _or_none(each.requests_per_minute),
                _or_none(each.tokens_per_minute),
                str(each.max_priority),
            )
            for each in keys
        ]
        console.table(("name", "scopes", "requests a minute", "tokens a minute", "priority up to"), rows)


@keys_command.command("revoke")
@click.argument("name")
@click.pass_obj
def keys_revoke_command(console: Console, name: str) -> None:
    """Take a key back; a server that runs refuses it at once.

    Example: xpm serve keys revoke notebook
    """
    _keys().revoke(name)
    console.say(f"{name} opens nothing any more")


def _keys() -> KeyFile:
    return KeyFile(here().home.root / KEYS_FILE)


def _or_none(limit: int | None) -> str:
    return "any number" if limit is None else f"{limit:,}"
