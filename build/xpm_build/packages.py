"""From folders to archives: a base in its variants, and an expert compiled for one base.

Each build works in a temporary folder, checks parity, records what it measured in the manifest, and only then writes
the archive under its final name.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_build.adapter.compile import compile_adapters, complete, save_slots
from xpm_build.adapter.methods import CompiledAdapter
from xpm_build.adapter.parity import check_adapter
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.adapter.places import adapter_places, for_base
from xpm_build.base.chat_templates import CHAT_TEMPLATE, TEMPLATES
from xpm_build.base.checkpoint import FolderCheckpoint
from xpm_build.base.export import DEFAULT_BLOCK, export_base
from xpm_build.base.exporters import TRACED_VARIANTS, exporter_for
from xpm_build.base.fingerprint import base_digest, fingerprint
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import check_base, load_model
from xpm_build.base.quality import Quality, measure
from xpm_build.base.quantize import BITS
from xpm_build.base.text_files import TEXT_FILES, check_chat_template, copy_text_files, has_chat_template
from xpm_build.check import check
from xpm_build.errors import BuildError
from xpm_build.grammar_check import check_grammar
from xpm_build.manifest_check import require_sound
from xpm_build.processes import peak_memory_bytes
from xpm_build.provenance import check_builder, provenance_of
from xpm_build.routing.package import head_of_folder
from xpm_index.archive import MANIFEST, archive_name, write_archive
from xpm_index.digests import sha256_file
from xpm_index.manifest import Manifest, base_name
from xpm_index.provenance import PROVENANCE
from xpm_index.strict_json import loads
from xpm_runtime.adapter import SLOTS
from xpm_runtime.graph import GRAPH_FILE, GRAPHS, WEIGHTS
from xpm_runtime.router.head import HEAD_FILE

VARIANTS = ("source", "fp32", "fp16", "int8", "int4")
DEFAULT_VARIANTS = ("source", "fp32", "int8", "int4")
_EXTRAS = ("README.md", "LICENSE", "grammar.gbnf", HEAD_FILE)
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
    source: Path,
    out: Path,
    *,
    name: str,
    version: str,
    variants: Sequence[str] = (),
    block: int = DEFAULT_BLOCK,
    quantizer: str = "nearest",
    exporter: str = "auto",
    extra_files: Mapping[str, Path] | None = None,
    description: str = "",
    license: str = "",
    template: str = "",
    report: Report = lambda text: None,
) -> list[BuiltArchive]:
    """Export a Hugging Face model folder and pack each variant as a ``.base`` archive.

    Args:
        source: config.json, safetensors weights, tokenizer.json and tokenizer_config.json.
        variants: of source (the folder itself, for building experts), fp32, fp16 (for accelerators), int8 and int4; by
            default ``DEFAULT_VARIANTS``, of which a graph that is traced has source and fp32.
        block: weights per quantisation scale.
        quantizer: how weights are rounded to 4 bits, one of ``xpm_build.base.quantizers.METHODS``.
        exporter: one of ``xpm_build.base.export.EXPORTERS``; "auto" writes the graph where it can.
        template: the chat template that a base without one is given, by its name in ``TEMPLATES``.
        report: told what is being done.
    Raises:
        BuildError: the model is not supported or incomplete. ParityError: a graph computes something else.
    """
    if unknown := set(variants) - set(VARIANTS):
        raise BuildError(f"variant {min(unknown)!r} is unknown", hint=f"choose of {', '.join(VARIANTS)}")
    model = _Model(source, exporter_for(source, exporter))
    if not variants:
        variants = [each for each in DEFAULT_VARIANTS if each in model.variants]
    if impossible := [each for each in variants if each not in model.variants]:
        raise BuildError(
            f"there is no {impossible[0]} of a base that is exported through Optimum",
            hint=f"its graph is in float32: choose of {', '.join(model.variants)}",
        )
    for required in ("tokenizer.json", "tokenizer_config.json"):
        if not (source / required).is_file():
            raise BuildError(f"{source} has no {required}")
    if template and has_chat_template(source):
        raise BuildError(f"{source} has a chat template of its own", hint="leave --template out")
    report(f"reading {source}")
    facts = model.facts()
    out.mkdir(parents=True, exist_ok=True)
    built = []
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
        text = Path(scratch) / "text"
        text.mkdir()
        copy_text_files(source, text)
        if template:
            (text / CHAT_TEMPLATE).write_text(TEMPLATES[template], encoding="utf-8")
        check_chat_template(text)
        extra = {path.name: path for path in text.iterdir()} | dict(extra_files or {})
        for variant in variants:
            folder, error, quality = source, None, None
            if variant != "source":
                folder = Path(scratch) / variant
                report(f"{variant}: writing the graph")
                started = time.perf_counter()
                model.export(folder, variant=variant, block=block, digest=facts["digest"], quantizer=quantizer)
                report(
                    f"{variant}: written in {time.perf_counter() - started:.1f} s, "
                    f"at most {peak_memory_bytes() / 1e9:.1f} GB of memory so far"
                )
                if variant in BITS:
                    quality = measure(folder, FolderCheckpoint(source), variant)
                    error = quality.max_logit_error
                    for line in quality.lines():
                        report(f"{variant}: {line}")
                else:
                    error = check_base(folder, source, variant)
                    report(f"{variant}: largest difference of logits {error:.2e}")
            manifest = _base_manifest(
                name, version, {**facts, "variant": variant}, error, quality, description, license
            )
            files = _variant_files(folder, variant) | extra
            path = out / archive_name(name, version, variant=variant)
            built.append(_pack(path, manifest, files, variant=variant, error=error))
            if folder != source:
                shutil.rmtree(folder)
    return built


@dataclass(frozen=True, slots=True)
class _Model:
    """A model in a folder and the exporter for it, "written" or "optimum"."""

    source: Path
    exporter: str

    @property
    def variants(self) -> tuple[str, ...]:
        return VARIANTS if self.exporter == "written" else ("source", *TRACED_VARIANTS)

    def facts(self) -> dict[str, Any]:
        """What a manifest says of every variant."""
        if self.exporter == "written":
            checkpoint = FolderCheckpoint(self.source)
            configuration = checkpoint.configuration
            digest, parameters = fingerprint(checkpoint, configuration), checkpoint.num_parameters()
        else:
            model = load_model(self.source)
            configuration = model.config
            digest, parameters = base_digest(model), sum(each.numel() for each in model.parameters())
        return {
            "digest": digest,
            "architecture": configuration.model_type,
            "parameters": parameters,
            "vocab_size": configuration.vocab_size,
        }

    def export(self, out: Path, **options: Any) -> None:
        export_base(self.source, out, exporter=self.exporter, **options)


def _base_manifest(
    name: str,
    version: str,
    base: dict[str, Any],
    error: float | None,
    quality: Quality | None,
    description: str,
    license: str,
) -> Manifest:
    if error is not None:
        base["max_logit_error"] = _order_of_magnitude(error)
    if quality is not None:
        base["quality"] = quality.to_dict()
    document = {"schema_version": "2.0", "kind": "base", "name": name, "version": version, "description": description}
    return Manifest({**document, "license": license, "base": base})


def _variant_files(folder: Path, variant: str) -> dict[str, Path]:
    names = [*TEXT_FILES, *((*GRAPHS, WEIGHTS, GRAPH_FILE) if variant != "source" else ())]
    files = {name: folder / name for name in names if (folder / name).is_file()}
    if variant == "source":
        files |= {path.name: path for path in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]}
    return files


def build_expert(
    folder: Path,
    out: Path,
    *,
    base: Path,
    name: str | None = None,
    storage: str = "float32",
    slots_only: bool = False,
    embedder: Path | None = None,
    builder: str = "",
    report: Report = lambda text: None,
) -> BuiltArchive:
    """Compile the PEFT adapter in ``folder`` for ``base`` and pack it as an unsigned ``.expert`` archive.

    A manifest may name several bases, each with adapters of its own: the archive is for the one that is given. Several
    adapters for a base are in folders of their own, to which the manifest's ``path``s lead; they act together.

    Args:
        folder: manifest.json and what PEFT saved; README.md, LICENSE and grammar.gbnf go along if they are there. Where
            its data set is there too, a routing head is trained on its prompts.
        base: the Hugging Face folder of the base (a base's source variant).
        name: the base's package name; by default the one in the manifest.
        storage: how A and B are stored: float32, float16 or int8; what that costs is measured and recorded.
        slots_only: leave out what PEFT saved: what is packed runs, but can't be compiled again, fused or trained on.
        embedder: what `xpm build embedder` wrote, for the routing head; by default the vectors of
            words that come with xpm.
        builder: the URI of the system that builds, for the package's provenance; by default the publisher.
    Raises:
        BuildError: something is missing or not supported, its grammar does not compile, or `xpm check` finds an error.
        ParityError: the slots compute something else than PEFT.
    """
    manifest = _read_manifest(folder)
    if builder:
        check_builder(builder)
    require_sound(check(folder), str(folder / MANIFEST))
    check_grammar(folder, manifest, report)
    report(f"loading {base}")
    model = load_model(base)
    digest, adapted = base_digest(model), adaptable(model)
    manifest = for_base(manifest, digest, name)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
        slots = Path(scratch) / SLOTS
        report("compiling the adapter")
        places = adapter_places(manifest, folder)
        whole = [complete(folder / place, Path(scratch) / "whole" / place, adapted) for place in places]
        adapter = compile_adapters(whole, adapted)
        save_slots(adapter, slots, base_digest=digest, storage=storage)
        del model, adapted
        if adapter.truncation:
            report(f"cut to rank {adapter.rank}: {adapter.truncation:.1%} of an update is lost")
        report("checking against PEFT")
        with exported(base) as graph:
            error = check_adapter(graph, base, whole, slots, storage=storage, truncation=adapter.truncation)
        report(f"largest difference of logits {error:.2e}")
        files = {SLOTS: slots}
        for place, source in [] if slots_only else zip(places, whole, strict=True):
            files |= {str(place / each): source / each for each in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
        extras = (*_EXTRAS, *_grammar(manifest))
        files |= {extra: folder / extra for extra in extras if (folder / extra).is_file()}
        head, routing = head_of_folder(folder, manifest, embedder=embedder, report=report)
        if head:
            files[HEAD_FILE] = Path(scratch) / HEAD_FILE
            files[HEAD_FILE].write_bytes(head)
        package_name = base_name(name or manifest.bases[0].name)
        folders = dict(zip(places, whole, strict=True))
        compiled = slots if slots_only else None
        document = _expert_manifest(manifest, package_name, digest, adapter, folders, storage, error, routing, compiled)
        provenance = provenance_of(
            folder,
            manifest,
            document,
            files,
            places=places,
            base=package_name,
            base_digest=digest,
            storage=storage,
            builder=builder,
            report=report,
        )
        report(f"provenance: {provenance.told()}")
        files[PROVENANCE] = Path(scratch) / PROVENANCE
        files[PROVENANCE].write_bytes(provenance.to_bytes())
        path = out / archive_name(manifest.name, manifest.version, base=package_name)
        return _pack(path, document, files, variant="", error=error)


@contextmanager
def exported(source: Path) -> Iterator[Path]:
    """The float32 graph of a model folder, in a temporary one."""
    with tempfile.TemporaryDirectory(prefix="xpm-graph-") as folder:
        export_base(source, Path(folder))
        yield Path(folder)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BuildError(
            f"{folder} has no {MANIFEST}", hint="see docs/reference/formats/expert.md for the least it must hold"
        )
    return Manifest.parse(path.read_bytes())


def _grammar(manifest: Manifest) -> tuple[str, ...]:
    """The grammar's file that the manifest names, if it names one within the folder."""
    path = Path(str(manifest.decoding.get("grammar_file") or ""))
    return () if path == Path() or path.is_absolute() or ".." in path.parts else (path.as_posix(),)


def _expert_manifest(
    manifest: Manifest,
    name: str,
    digest: str,
    adapter: CompiledAdapter,
    folders: Mapping[Path, Path],
    storage: str,
    error: float,
    routing: Mapping[str, Any],
    compiled: Path | None,
) -> Manifest:
    """The manifest with what only the build knows: base digest, adapter sizes and digests, parity,
    routing head; schema 2.0."""
    raw_base = manifest.raw["base_models"][0] if manifest.raw.get("base_models") else manifest.raw["base_model"]
    given = raw_base.get("adapters") or manifest.raw.get("adapters") or [{}]
    adapters = [
        {**stated, **_adapter_facts(place, folder, kind, adapter.rank if len(folders) == 1 else 0, compiled)}
        for (place, folder), kind, stated in zip(
            folders.items(), adapter.kind.split("+"), [*given, *({} for _ in folders)][: len(folders)], strict=True
        )
    ]
    base = {**raw_base, "name": name, "sha256": digest.removeprefix("sha256:"), "adapters": adapters}
    document = manifest.with_values(
        base_model=None, adapters=None, integrity=None, schema_version="2.0", base_models=[base]
    )
    build: dict[str, Any] = {
        "max_logit_error": _order_of_magnitude(error),
        "compared_with": "transformers and peft, float32",
    }
    if storage != "float32":
        build["storage"] = storage
    if adapter.truncation:
        build["truncation"] = round(adapter.truncation, 4)
    if routing:
        build["routing_head"] = dict(routing)
    return document.with_values(build=build)


def _adapter_facts(place: Path, folder: Path, kind: str, rank: int, compiled: Path | None) -> dict[str, Any]:
    """``compiled``: the slots, where they are packed instead of what PEFT saved."""
    config = loads((folder / ADAPTER_CONFIG).read_bytes(), what=ADAPTER_CONFIG)
    weights = compiled or folder / ADAPTER_WEIGHTS
    facts: dict[str, Any] = {
        "type": kind,
        "path": SLOTS if compiled else str(place / ADAPTER_WEIGHTS),
        "size_bytes": weights.stat().st_size,
        "sha256": sha256_file(weights).removeprefix("sha256:"),
    }
    if isinstance(config.get("target_modules"), list):
        facts["target_modules"] = sorted(config["target_modules"])
    if rank:
        facts |= {"r": rank, "alpha": config.get("lora_alpha")}
    return facts


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
        path=path,
        name=manifest.name,
        version=str(manifest.version),
        variant=variant,
        digest=sha256_file(path),
        size=path.stat().st_size,
        max_logit_error=error,
    )


def _order_of_magnitude(error: float) -> float:
    """The next power of ten: what a manifest states, so that the last bits of a machine's
    arithmetic do not alter an archive."""
    return float(f"1e{math.ceil(math.log10(max(error, 1e-12)))}")
