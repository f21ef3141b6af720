"""From nothing to the index that comes with xpm: train, compile, evaluate, pack, sign, index, bundle.

Each step leaves its result in the work folder and is not repeated if that is there, so an interrupted rebuild goes on. The
signing key is made in the work folder and never leaves it; a rebuilt index therefore has a new key.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xpm_build.adapters import base_digest, compile_adapter, save_slots
from xpm_build.embedded.answers import describe, evaluate
from xpm_build.embedded.base_model import train_base
from xpm_build.embedded.evaluation import Score
from xpm_build.embedded.experts import RECIPES, Recipe, train_expert
from xpm_build.errors import BuildError
from xpm_build.export import export_base, load_model
from xpm_build.packages import BuiltArchive, build_base, build_expert
from xpm_build.peft_files import ADAPTER_WEIGHTS
from xpm_index.archive import MANIFEST, extract_archive
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Entry
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot, IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive
from xpm_runtime.adapter import SLOTS

BASE_NAME = "xpm-tiny"
BASE_VERSION = "0.1.0"
BASE_DESCRIPTION = "A small base of Qwen3 architecture, trained on generated SQL, JSON and copying exercises"
PUBLISHER = "xpm"
LICENSE = "Apache-2.0"
VARIANTS = ("source", "fp32")
_RELEASED = "2026-11-20T00:00:00Z"
_RELEASED_S = 1_795_132_800  # the same, in seconds
_PACKAGES = Path(__file__).with_name("packages")
Report = Callable[[str], None]


def rebuild(work: Path, bundle: Path, *, report: Report) -> None:
    """Make everything and write the bundle.

    Args:
        work: keeps the base, the adapters and the signing key.
        bundle: the Git bundle to write.
    """
    work.mkdir(parents=True, exist_ok=True)
    base = work / "base"
    if not (base / "tokenizer.json").is_file():
        report("training the base")
        train_base(base)
    graph = work / "fp32"
    if not (graph / "graph.json").is_file():
        export_base(base, graph)
    folders = [_make_expert(recipe, base, graph, work, report) for recipe in RECIPES.values()]
    packages = work / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    readme = {"README.md": _PACKAGES / "base" / "README.md"}
    bases = build_base(
        base, packages, name=BASE_NAME, version=BASE_VERSION, variants=VARIANTS, extra_files=readme,
        description=BASE_DESCRIPTION, license=LICENSE, report=report,
    )  # fmt: skip
    experts = [build_expert(folder, packages, base=base, report=report) for folder in folders]
    key = _signing_key(work / "signing-key.json")
    _write_index(work / "index.git", bundle, [bases, *([each] for each in experts)], key)
    report(f"{bundle}: {bundle.stat().st_size / 1e6:.1f} MB")


def _make_expert(recipe: Recipe, base: Path, graph: Path, work: Path, report: Report) -> Path:
    """Train, compile and evaluate one expert; its folder is ready for ``build_expert``."""
    folder = work / recipe.name
    if not (folder / ADAPTER_WEIGHTS).is_file():
        report(f"training {recipe.name}")
        train_expert(recipe, base, folder)
    model = load_model(base)
    save_slots(compile_adapter(folder, model), folder / SLOTS, base_digest=base_digest(model))
    expert, alone = evaluate(recipe, graph, folder / SLOTS)
    report(describe(recipe, expert, alone))
    source = _PACKAGES / recipe.name
    shutil.copyfile(source / "README.md", folder / "README.md")
    manifest = Manifest.parse((source / MANIFEST).read_bytes())
    metrics, training = _quality_metrics(recipe, expert, alone), _training(recipe)
    (folder / MANIFEST).write_bytes(manifest.with_values(quality_metrics=metrics, training=training).to_bytes())
    return folder


def _quality_metrics(recipe: Recipe, expert: Score, alone: Score) -> dict[str, Any]:
    return {
        "metric": recipe.metric,
        "benchmark_score": round(100 * expert.share, 1),
        "base_model_score": round(100 * alone.share, 1),
        "test_queries": expert.num_cases,
        "training_steps": recipe.plan.steps,
        "by_family": {family: f"{right}/{asked}" for family, (right, asked) in expert.by_family.items()},
        "held_back": "identifiers, values and phrasings",
    }


def _training(recipe: Recipe) -> dict[str, Any]:
    plan = recipe.plan
    return {
        "config": {
            "method": "sft",
            "adapter_type": "dora" if recipe.use_dora else "lora",
            "rank": recipe.rank,
            "alpha": 2 * recipe.rank,
            "learning_rate": plan.learning_rate,
            "batch_tokens": plan.batch_tokens,
            "max_steps": plan.steps,
            "seed": plan.seed,
        }
    }


def _signing_key(path: Path) -> SigningKey:
    if not path.is_file():
        SigningKey.generate().save(path)
    return SigningKey.load(path)


def _write_index(folder: Path, bundle: Path, packages: list[list[BuiltArchive]], key: SigningKey) -> None:
    """A fresh index with every package signed and stored in it, as a bundle."""
    shutil.rmtree(folder, ignore_errors=True)
    digest = sha256_bytes(key.public.text.encode()).removeprefix("sha256:")
    released = datetime.fromtimestamp(_RELEASED_S, UTC)
    writer = IndexWriter.init(folder, name="embedded", id=digest[:32], roles=None, now=lambda: released)
    keys = (PublisherKey(public=key.public, valid_from=_RELEASED),)
    writer.put_publisher(Publisher(namespace=PUBLISHER, keys=keys))
    for archives in packages:
        manifests = [sign_archive(each.path, key, publisher=PUBLISHER, created_at=_RELEASED) for each in archives]
        signed = list(zip([each.path for each in archives], manifests, strict=True))
        refs = tuple(archive_ref(path, manifest) for path, manifest in signed)
        entry = entry_for(manifests[0], refs, publisher=PUBLISHER, key_id=key.key_id, published_at=_RELEASED)
        blobs = {path_in_index(manifest): path.read_bytes() for path, manifest in signed}
        writer.add_entry(entry, blobs=blobs)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    writer.repo.write_bundle(bundle)
    writer.repo.close()


def evaluate_bundle(bundle: Path, *, report: Report) -> None:
    """Judge every expert of a bundle, as shipped, and the base alone; prints the tables."""
    with (
        tempfile.TemporaryDirectory(prefix="xpm-evaluate-") as scratch,
        BareRepo.init(Path(scratch) / "index.git") as repo,
    ):
        index = IndexSnapshot.enclosed(repo, repo.fetch(str(bundle)))
        graph = _unpack(index, index.entries(BASE_NAME)[-1], "fp32", Path(scratch) / "base")
        for recipe in RECIPES.values():
            folder = _unpack(index, index.entries(recipe.name)[-1], "", Path(scratch) / recipe.name)
            expert, alone = evaluate(recipe, graph, folder / SLOTS)
            report(describe(recipe, expert, alone))
            stated = json.loads((folder / MANIFEST).read_text())["quality_metrics"]
            report(f"  stated in its manifest: {stated['benchmark_score']} (base alone {stated['base_model_score']})")


def _unpack(index: IndexSnapshot, entry: Entry, variant: str, folder: Path) -> Path:
    ref = next(each for each in entry.archives if each.variant == variant)
    data = index.read_blob(ref.sources[0].removeprefix("blob:"))
    if data is None or sha256_bytes(data) != ref.digest:
        raise BuildError(f"the archive of {entry.name} is damaged")
    archive = folder.with_suffix(".base" if variant else ".expert")
    archive.write_bytes(data)
    folder.mkdir()
    extract_archive(archive, folder)
    return folder
