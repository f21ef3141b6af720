"""From folders to archives: a base in its variants, and an expert compiled for one base.

Each build works in a temporary folder, checks parity, records what it measured in the manifest, and only then writes the
archive under its final name.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_build.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, SLOTS, base_digest, compile_adapter, save_slots
from xpm_build.errors import BuildError
from xpm_build.export import GRAPH, GRAPH_DATA, TOKENIZER_FILES, export_graph, load_model
from xpm_build.parity import check_adapter, check_base
from xpm_build.quantize import BITS, quantize_graph
from xpm_index.archive import MANIFEST, archive_name, write_archive
from xpm_index.digests import sha256_file
from xpm_index.manifest import Manifest, base_name
from xpm_index.strict_json import loads

VARIANTS = ("source", "fp32", "int8", "int4")
_EXTRAS = ("README.md", "LICENSE", "grammar.gbnf")
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltArchive:
    """``max_logit_error`` is the parity figure, None where nothing is computed (the source variant)."""

    path: Path
    name: str
    version: str
    variant: str
    digest: str
    size: int
    max_logit_error: float | None


def build_base(
    source: Path, out: Path, *, name: str, version: str, variants: Sequence[str] = VARIANTS, block: int = 32,
    extra_files: Mapping[str, Path] | None = None, description: str = "", license: str = "", report: Report = lambda text: None,
) -> list[BuiltArchive]:  # fmt: skip
    """Export a Hugging Face model folder and pack each variant as a ``.base`` archive.

    Args:
        source: config.json, safetensors weights, tokenizer.json and tokenizer_config.json.
        variants: of source (the folder itself, for building experts), fp32, int8 and int4.
        block: weights per quantisation scale.
        report: told what is being done.
    Raises:
        BuildError: the model is not supported or incomplete. ParityError: a graph computes something else.
    """
    if unknown := set(variants) - set(VARIANTS):
        raise BuildError(f"variant {min(unknown)!r} is unknown", hint=f"choose of {', '.join(VARIANTS)}")
    report(f"loading {source}")
    model = load_model(source)
    for required in ("tokenizer.json", "tokenizer_config.json"):
        if not (source / required).is_file():
            raise BuildError(f"{source} has no {required}")
    digest = base_digest(model)
    out.mkdir(parents=True, exist_ok=True)
    built = []
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
        fp32 = Path(scratch) / "fp32"
        report("exporting the graph")
        export_graph(model, source, fp32)
        for variant in variants:
            report(f"packing {variant}")
            folder, error = source, None
            if variant != "source":
                folder = fp32 if variant == "fp32" else Path(scratch) / variant
                if variant in BITS:
                    quantize_graph(fp32, folder, variant, block=block)
                error = check_base(folder, model, variant)
                report(f"{variant}: largest difference of logits {error:.2e}")
            manifest = _base_manifest(name, version, model, digest, variant, error, description, license)
            files = _variant_files(folder, variant) | dict(extra_files or {})
            path = out / archive_name(name, version, variant=variant)
            built.append(_pack(path, manifest, files, variant=variant, error=error))
    return built


def _base_manifest(
    name: str, version: str, model: Any, digest: str, variant: str, error: float | None, description: str, license: str
) -> Manifest:
    base: dict[str, Any] = {
        "digest": digest,
        "variant": variant,
        "architecture": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocab_size": model.config.vocab_size,
    }
    if error is not None:
        base["max_logit_error"] = _order_of_magnitude(error)
    document = {"schema_version": "2.0", "kind": "base", "name": name, "version": version, "description": description}
    return Manifest({**document, "license": license, "base": base})


def _variant_files(folder: Path, variant: str) -> dict[str, Path]:
    names = [*TOKENIZER_FILES, *((GRAPH, GRAPH_DATA, "graph.json") if variant != "source" else ())]
    files = {name: folder / name for name in names if (folder / name).is_file()}
    if variant == "source":
        files |= {path.name: path for path in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]}
    return files


def build_expert(
    folder: Path, out: Path, *, base: Path, name: str | None = None, report: Report = lambda text: None
) -> BuiltArchive:
    """Compile the PEFT adapter in ``folder`` for ``base`` and pack it as an unsigned ``.expert`` archive.

    Args:
        folder: manifest.json and what PEFT saved; README.md, LICENSE and grammar.gbnf go along if they are there.
        base: the Hugging Face folder of the base (a base's source variant).
        name: the base's package name; by default the one in the manifest.
    Raises:
        BuildError: something is missing or not supported. ParityError: the slots compute something else than PEFT.
    """
    manifest = _read_manifest(folder)
    if len(manifest.bases) != 1:
        raise BuildError(
            "an archive is for one base",
            context=f"the manifest names {len(manifest.bases)}",
            hint="keep one of base_models",
        )
    report(f"loading {base}")
    model = load_model(base)
    digest = base_digest(model)
    wanted = manifest.bases[0].digest
    if wanted and wanted != digest:
        raise BuildError(
            "the manifest is for other weights than those of the base",
            context=f"it wants {wanted}, the base is {digest}",
        )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
        slots = Path(scratch) / SLOTS
        report("compiling the adapter")
        adapter = compile_adapter(folder, model)
        save_slots(adapter, slots, base_digest=digest)
        report("checking against PEFT")
        with exported(model, base) as graph:
            error = check_adapter(graph, model, folder, slots)
        report(f"largest difference of logits {error:.2e}")
        files = {SLOTS: slots, ADAPTER_CONFIG: folder / ADAPTER_CONFIG, ADAPTER_WEIGHTS: folder / ADAPTER_WEIGHTS}
        files |= {extra: folder / extra for extra in _EXTRAS if (folder / extra).is_file()}
        package_name = base_name(name or manifest.bases[0].name)
        complete = _expert_manifest(manifest, package_name, digest, adapter.kind, adapter.rank, folder, error)
        path = out / archive_name(manifest.name, manifest.version, base=package_name)
        return _pack(path, complete, files, variant="", error=error)


@contextmanager
def exported(model: Any, source: Path) -> Iterator[Path]:
    """The float32 graph of ``model`` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="xpm-graph-") as folder:
        export_graph(model, source, Path(folder))
        yield Path(folder)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BuildError(f"{folder} has no {MANIFEST}", hint="see docs/formats/expert.md for the least it must hold")
    return Manifest.parse(path.read_bytes())


def _expert_manifest(
    manifest: Manifest, name: str, digest: str, kind: str, rank: int, folder: Path, error: float
) -> Manifest:
    """The manifest with what only the build knows: base digest, adapter sizes and digests, parity; schema 2.0."""
    raw_base = manifest.raw["base_models"][0] if manifest.raw.get("base_models") else manifest.raw["base_model"]
    given = raw_base.get("adapters") or manifest.raw.get("adapters") or [{}]
    config = loads((folder / ADAPTER_CONFIG).read_bytes(), what=ADAPTER_CONFIG)
    weights = folder / ADAPTER_WEIGHTS
    facts: dict[str, Any] = {
        "type": kind,
        "path": ADAPTER_WEIGHTS,
        "size_bytes": weights.stat().st_size,
        "sha256": sha256_file(weights).removeprefix("sha256:"),
    }
    if isinstance(config.get("target_modules"), list):
        facts["target_modules"] = sorted(config["target_modules"])
    if rank:
        facts |= {"r": rank, "alpha": config.get("lora_alpha")}
    base = {**raw_base, "name": name, "sha256": digest.removeprefix("sha256:"), "adapters": [{**given[0], **facts}]}
    document = manifest.with_values(
        base_model=None, adapters=None, integrity=None, schema_version="2.0", base_models=[base]
    )
    build = {"max_logit_error": _order_of_magnitude(error), "compared_with": "transformers and peft, float32"}
    return document.with_values(build=build)


def _pack(
    path: Path, manifest: Manifest, files: Mapping[str, Path], *, variant: str, error: float | None
) -> BuiltArchive:
    partial = path.with_name(f".{path.name}.partial")
    try:
        write_archive(partial, {MANIFEST: manifest.to_bytes(), **files})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return BuiltArchive(
        path=path, name=manifest.name, version=str(manifest.version), variant=variant,
        digest=sha256_file(path), size=path.stat().st_size, max_logit_error=error,
    )  # fmt: skip


def _order_of_magnitude(error: float) -> float:
    """The next power of ten: what a manifest states, so that the last bits of a machine's arithmetic do not alter an archive."""
    return float(f"1e{math.ceil(math.log10(max(error, 1e-12)))}")
