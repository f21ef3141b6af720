"""build base, build expert, convert."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xpm.cli.context import here
from xpm.cli.render import Console, size
from xpm.operations import build as operations

if TYPE_CHECKING:
    from xpm_build.packages import BuiltArchive

_VARIANTS = ("source", "fp32", "fp16", "int8", "int4")
_TEMPLATES = ("chatml", "qwen3", "alpaca", "llama", "gemma")
_out = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    help="Where packages are written.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")


@click.group("build")
def build_command() -> None:
    """Build base and expert packages (needs the build extra)."""


@build_command.command("base")
@click.argument("source")
@click.option("--name", required=True, help="The package's name, e.g. qwen3-0-6b.")
@click.option("--version", default="0.1.0", show_default=True, help="The package's version.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(_VARIANTS),
    help="What to pack; by default source, fp32, int8 and int4. Through Optimum there are source and fp32.",
)
@click.option(
    "--block",
    type=click.Choice(["32", "64", "128", "256"]),
    default="32",
    show_default=True,
    help="Weights per quantisation scale: 32 for quality, 128 for speed.",
)
@click.option(
    "--quantizer",
    type=click.Choice(["nearest", "search", "minima", "gptq"]),
    default="search",
    show_default=True,
    help="How weights are rounded to 4 bits; with minima and gptq there is no graph for our own kernels.",
)
@click.option(
    "--exporter",
    type=click.Choice(["auto", "written", "optimum"]),
    default="auto",
    show_default=True,
    help="Whether xpm writes the graph itself, or Optimum traces the model; auto writes it where it can.",
)
@click.option(
    "--template", type=click.Choice(_TEMPLATES), default=None, help="A chat template for a base that has none."
)
@_out
@_json
@click.pass_obj
def build_base_command(
    console: Console,
    source: str,
    name: str,
    version: str,
    variants: tuple[str, ...],
    block: str,
    quantizer: str,
    exporter: str,
    template: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Export a Hugging Face model with universal slots and pack each variant. SOURCE is its
    folder, or its id OWNER/NAME.

    Example: xpm build base ./Qwen3-0.6B --name qwen3-0-6b --variant int4
    """
    built = operations.build_base(
        source,
        out,
        name=name,
        version=version,
        variants=variants,
        block=int(block),
        quantizer=quantizer,
        exporter=exporter,
        template=template or "",
        report=console.say,
    )
    _render(console, built, as_json=as_json)


@build_command.command("expert")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--base",
    required=True,
    help="The base: a model's folder or GGUF file, or the name of one made here or in an index.",
)
@click.option(
    "--storage",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="How the adapter's numbers are stored; what that costs is measured and recorded.",
)
@click.option(
    "--slots-only",
    is_flag=True,
    help="Leave out what PEFT saved: smaller, but nobody can compile it again, fuse it or train on from it.",
)
@click.option(
    "--embedder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Train the routing head with this exported embedder, too, for whoever has it (`router.embedder`).",
)
@click.option(
    "--builder",
    default="",
    metavar="URI",
    help="The system that builds, for the package's provenance; by default the publisher's machine.",
)
@click.option("--in-place", is_flag=True, help="Compile into the folder itself, for `xpm install --editable`.")
@_out
@_json
@click.pass_obj
def build_expert_command(
    console: Console,
    folder: Path,
    base: str,
    storage: str,
    slots_only: bool,
    embedder: Path | None,
    builder: str,
    in_place: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Compile the PEFT adapter in FOLDER (with its manifest.json) to slots, check it against PEFT, and pack it.

    Example: xpm build expert ./my-expert --base xpm-tiny
    """
    if in_place:
        compiled = operations.build_in_place(here(), folder, base=base, progress=console, report=console.say)
        if as_json:
            console.json({"path": str(compiled)})
        else:
            console.say(f"compiled into {compiled}")
        return
    built = operations.build_expert(
        here(),
        folder,
        out,
        base=base,
        storage=storage,
        slots_only=slots_only,
        embedder=embedder,
        builder=builder,
        progress=console,
        report=console.say,
    )
    _render(console, [built], as_json=as_json)


@build_command.command("embedder")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--layers", type=click.IntRange(min=1), help="Keep the encoder's first layers alone: it is quicker.")
@click.option(
    "--topics/--no-topics", default=True, show_default=True, help="Train the router's topics with it: minutes."
)
@_json
@click.pass_obj
def build_embedder_command(
    console: Console, folder: Path, out: Path, layers: int | None, topics: bool, as_json: bool
) -> None:
    """Export the sentence-transformers model or plain encoder in FOLDER, for routing, and compare its vectors.

    Example: xpm build embedder ./multilingual-e5-small --layers 4 --out e5
    """
    built = operations.build_embedder(folder, out, layers=layers, report=console.say if topics else None)
    if as_json:
        console.json(
            {"path": str(built.path), "size": built.size, "pooling": built.pooling, "least_cosine": built.cosine}
        )
        return
    console.say(f"{built.path}: vectors of {built.size}, pooled by {built.pooling}, least cosine {built.cosine:.6f}")


def _render(console: Console, built: "list[BuiltArchive]", *, as_json: bool) -> None:
    if as_json:
        console.json([_document(each) for each in built])
        return
    for each in built:
        error = "" if each.max_logit_error is None else f", largest difference of logits {each.max_logit_error:.1e}"
        console.say(f"{each.path}: {size(each.size)}{error}")


def _document(built: "BuiltArchive") -> dict[str, Any]:
    return {
        "path": str(built.path),
        "name": built.name,
        "version": built.version,
        "variant": built.variant,
        "digest": built.digest,
        "size": built.size,
        "max_logit_error": built.max_logit_error,
    }


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["expert", "peft", "hf", "oci", "package"]),
    help="By default package where OUT ends with .expert, peft for an .expert, else expert.",
)
@click.option("--base", default="", help="The base's name, for an adapter that has no manifest yet.")
@click.option(
    "--sign-model",
    "sign",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Write model.sig for OpenSSF's model-signing with this private key: PEM, on P-256, P-384 or P-521.",
)
@click.option(
    "--verify-model",
    "verify",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Refuse a SOURCE whose model.sig is not by this public key (PEM), or that was altered since.",
)
@_json
@click.pass_obj
def convert_command(
    console: Console,
    source: Path,
    out: Path,
    to: str | None,
    base: str,
    sign: Path | None,
    verify: Path | None,
    as_json: bool,
) -> None:
    """Write the adapter in SOURCE (a PEFT folder, an .expert, an older .tar.gz, an OCI layout) to
    the new OUT in another form.

    hf is a folder for Hugging Face's hub; oci a layout on disk that holds all of a package, which
    package makes of it again.

    Example: xpm convert expert-sql-xpm-tiny.v0.1.0.expert ./sql-for-peft
    """
    form, written = operations.convert(source, out, to=to, base=base, sign=sign, verify=verify)
    if as_json:
        console.json({"path": str(out), "form": form, "files": written})
    else:
        console.say(f"wrote {out}: {', '.join(written)}")
