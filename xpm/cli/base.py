"""base: the bases that indexes have, and which of them an environment runs on."""

from pathlib import Path

import click

from xpm.cli.changes import render_change
from xpm.cli.context import here, options
from xpm.cli.entries import entry_document, marked
from xpm.cli.render import Console, size
from xpm.errors import UsageError
from xpm.operations.inspect import search
from xpm.operations.install import use_base, use_model
from xpm.operations.model_folder import base_source
from xpm.operations.models import find_model
from xpm.project import DEFAULT_BASE, DEFAULT_VARIANT
from xpm.search import Query
from xpm_index.requirements import Requirement

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("base")
def base_command() -> None:
    """Look at the bases that the indexes have."""


@base_command.command("list")
@_json
@click.pass_obj
def base_list_command(console: Console, as_json: bool) -> None:
    """List bases with their variants.

    Example: xpm base list
    """
    found = search(here(), Query(kind="base"), options(console))
    bases = [(each.index, each.entry) for each in found if each.entry is not None]
    if as_json:
        console.json([{"index": index, **entry_document(entry)} for index, entry in bases])
        return
    rows = [
        (entry.name, marked(entry.version, entry.yanked is not None), a.variant, size(a.size), index)
        for index, entry in bases
        for a in entry.archives
    ]
    console.table(("name", "version", "variant", "size", "index"), rows)


@base_command.command("add")
@click.argument("base", metavar="NAME[@RANGE]|MODEL")
@click.option(
    "--variant", help="Which of its variants to run: fp32, int8 or int4; a model is made int4 if none is named."
)
@click.option("--name", help="What a model is to be called here; by default as its file or folder.")
@click.option(
    "--quantizer",
    type=click.Choice(["nearest", "search", "minima", "gptq"]),
    help="How a model's floats are rounded to 4 bits (docs/reference/quantisers.md).",
)
@click.option(
    "--check", is_flag=True, help="Compare what is made of a model with Transformers on a text; takes the build extra."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")
@_json
@click.pass_obj
def base_add_command(
    console: Console,
    base: str,
    variant: str | None,
    name: str | None,
    quantizer: str | None,
    check: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run this environment on another base; its experts are resolved anew to fit it.

    A MODEL is a GGUF file, a Hugging Face folder, or one on a hub (OWNER/NAME, hf:OWNER/NAME@REVISION#FILE.gguf): a
    base is made of it here, which nobody signs.

    Example: xpm base add ./model.gguf
    """
    environment = here()
    chosen = options(console, dry_run=dry_run)
    model = find_model(base, folder=environment.folder, cwd=Path.cwd(), quantizer=quantizer or "")
    if model is not None:
        checked = console.say if check else None
        change = use_model(
            environment, model, variant=variant or "int4", name=name or "", options=chosen, checked=checked
        )
    else:
        if check:
            raise UsageError(
                f"{base} is not made here",
                hint="--check is for a model: a published base was compared when it was built",
            )
        change = use_base(environment, Requirement.parse(base), variant, chosen)
    render_change(console, change, as_json=as_json, dry_run=dry_run)


@base_command.command("remove")
@click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")
@_json
@click.pass_obj
def base_remove_command(console: Console, dry_run: bool, as_json: bool) -> None:
    """Go back to the base that comes with xpm.

    Example: xpm base remove
    """
    chosen = options(console, dry_run=dry_run)
    change = use_base(here(), Requirement.parse(DEFAULT_BASE), DEFAULT_VARIANT, chosen)
    render_change(console, change, as_json=as_json, dry_run=dry_run)


@base_command.command("path")
@click.argument("name")
@click.pass_obj
def base_path_command(console: Console, name: str) -> None:
    """Fetch a base's source variant and print its folder: the Hugging Face model to train adapters on.

    Example: xpm base path xpm-tiny
    """
    console.out(str(base_source(here(), name, progress=console)))
