"""The index that comes with xpm: the base, then six experts by the same steps that any publisher
takes, each for two bases.

An expert is a folder with a manifest and a model card, as ``packages/`` and ``smollm2/`` hold them; its data, training
and judging are what the manifest says, through ``xpm_build``'s own commands. Each step leaves its result in the work
folder and is not repeated if that is there, so an interrupted rebuild goes on. What the index has already stays in it,
so that a lockfile's versions are found, and is not made again: weights whose recipe has not changed are taken from
there. The signing key is made in the work folder and never leaves it; the index lists it beside the earlier ones.
"""

import json
import multiprocessing
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from examples.embedded.base_model import train_base
from xpm_build.adapter.peft_files import is_compiled
from xpm_build.dataset.generate import generate
from xpm_build.dataset.settings import DatasetSettings, dataset_settings
from xpm_build.dataset.split import TRAIN, split_rows
from xpm_build.domains.registry import OWN
from xpm_build.errors import BuildError
from xpm_build.evaluation.validate import ValidationOptions, validate
from xpm_build.manifest_file import write_manifest
from xpm_build.packages import BuiltArchive, build_base, build_expert
from xpm_build.rows import read_rows
from xpm_build.training.report import REPORT as TRAINED
from xpm_build.training.run import train
from xpm_index.archive import MANIFEST, extract_archive
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Entry
from xpm_index.errors import TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive

BASE_NAME = "xpm-tiny"
BASE_VERSION = "0.2.0"
BASE_DESCRIPTION = (
    "A small base of Qwen3 architecture, trained on generated SQL, JSON, Cypher, code and copying exercises"
)
PUBLISHER = "xpm"
LICENSE = "Apache-2.0"
VARIANTS = ("source", "fp32")
EXPERTS = tuple(f"expert-{name}" for name in OWN)
STORAGE = "float16"
_CASES = 500
_RELEASED = "2026-11-28T00:00:00Z"
_JUDGED = "quality_metrics.json"
PACKAGES = Path(__file__).with_name("packages")
Report = Callable[[str], None]
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


def say(text: str) -> None:
    """A line of progress, from whichever process, to stderr."""
    sys.stderr.write(text + "\n")


def say_of(name: str, report: Report, text: str) -> None:
    """A line about one of several that are made side by side."""
    report(f"{name}: {text}")


def rebuild(work: Path, bundle: Path, *, real: Path | None, report: Report) -> None:
    """Make what the bundle lacks and add it.

    Args:
        work: keeps the base, the experts' folders and the signing key.
        bundle: the Git bundle to extend, or to write if there is none.
        real: the packages of the same experts for another base (``examples.embedded.real``); None for none.
    """
    work.mkdir(parents=True, exist_ok=True)
    base, packages = work / "base", work / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    writer = _opened(work / "index.git", bundle)
    published = _unpack_newest(writer, work)
    wanted = [name for name in EXPERTS if published.get(name) != _version(PACKAGES / name)]
    others = {name: _for_another_base(name, real) if real else [] for name in wanted}
    made: list[list[Path]] = []
    if published.get(BASE_NAME) != BASE_VERSION:
        made.append([each.path for each in _make_base(base, packages, report)])
    for folder in make_experts([(PACKAGES / name, work / name) for name in wanted], base, report=report):
        built = build_expert(folder, packages, base=base, storage=STORAGE, slots_only=True, report=report)
        made.append([built.path, *(Path(shutil.copy(each, packages)) for each in others[built.name])])
    _publish(writer, made, _signing_key(work / "signing-key.json"))
    bundle.parent.mkdir(parents=True, exist_ok=True)
    writer.repo.write_bundle(bundle)
    writer.repo.close()
    report(f"{bundle}: {bundle.stat().st_size / 1e6:.1f} MB")


def _for_another_base(name: str, packages: Path) -> list[Path]:
    """The archives of the version that is to be made which ``packages`` holds for other bases."""
    version = _version(PACKAGES / name)
    found = sorted(packages.glob(f"{name}-*.v{version}.expert"))
    if not found:
        raise BuildError(f"{packages} has no {name} {version}", hint="make experts-real makes it; or leave out --real")
    return found


def _make_base(base: Path, packages: Path, report: Report) -> list[BuiltArchive]:
    if not (base / "tokenizer.json").is_file():
        report("training the base")
        train_base(base)
    return build_base(
        base,
        packages,
        name=BASE_NAME,
        version=BASE_VERSION,
        variants=VARIANTS,
        extra_files={"README.md": PACKAGES / "base" / "README.md"},
        description=BASE_DESCRIPTION,
        license=LICENSE,
        report=report,
    )


def make_experts(places: Sequence[tuple[Path, Path]], base: Path, *, report: Report) -> list[Path]:
    """Make experts side by side, each on one core: how many cores there are changes the time, not what comes out.

    Args:
        places: (source, folder) of each, as of ``make_expert``; the longest first.
        report: is called in other processes, so it must be a module's function, as ``say`` is.
    """
    return side_by_side(partial(_make_one, base=base, report=report), places)


def _make_one(place: tuple[Path, Path], *, base: Path, report: Report) -> Path:
    return make_expert(*place, base, report=report)


def side_by_side(make: Callable[[_Given], _Made], given: Sequence[_Given]) -> list[_Made]:
    """``make`` of each, as many at a time as there are cores; with CUDA one after the other. ``make``
    must be a module's function.

    One core each takes less time in all than all cores for one after the other: the products of a small model
    are too small to be shared.
    """
    if not given:
        return []
    num_workers = 1 if torch.cuda.is_available() else min(len(given), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_work) as pool:
        return [each.result() for each in [pool.submit(make, one) for one in given]]


def _begin_work() -> None:
    """In a worker: one core, and no life after the process that it works for, however that one ended."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def make_expert(
    source: Path, folder: Path, base: Path, *, cases: int = _CASES, threads: int | None = 1, report: Report
) -> Path:
    """Generate, split, train and judge the expert whose manifest and card are in ``source``;
    ``folder`` is ready to be built.

    Args:
        cases: the most of a circle that are judged.
        threads: of the engine that answers them, all cores if None.
    """
    shutil.copytree(source, folder, dirs_exist_ok=True)
    manifest = Manifest.parse((source / MANIFEST).read_bytes())
    report = partial(say_of, manifest.name, report)
    if (folder / _JUDGED).is_file():  # what was found goes into the manifest that was just copied
        metrics = json.loads((folder / _JUDGED).read_text())
        write_manifest(folder, manifest.with_values(quality_metrics=metrics))
        return folder
    settings = dataset_settings(manifest.raw)
    if not (folder / settings.path).with_name(TRAIN).is_file():
        report("data")
        _make_data(folder, settings, report)
    if not (folder / TRAINED).is_file():
        report("training")
        train(folder, base, report=report)
    report("judging")
    validate(folder, base, ValidationOptions(cases=cases, threads=threads), report=report)
    judged = Manifest.parse((folder / MANIFEST).read_bytes())
    (folder / _JUDGED).write_text(json.dumps(judged.quality_metrics, indent=2) + "\n")
    return folder


def _make_data(folder: Path, settings: DatasetSettings, report: Report) -> None:
    path = folder / settings.path
    generate(settings.generation, path, report=report)
    split = split_rows(read_rows(path), settings.split, path.parent)
    report(json.dumps(split.to_dict()))
    if any(split.overlap.values()):
        raise BuildError("training and test rows overlap", context=json.dumps(split.overlap))


def _signing_key(path: Path) -> SigningKey:
    if not path.is_file():
        SigningKey.generate().save(path)
    return SigningKey.load(path)


def _opened(folder: Path, bundle: Path) -> IndexWriter:
    """The bundle's index, to be extended; a new one if there is no bundle."""
    shutil.rmtree(folder, ignore_errors=True)
    released = datetime.fromisoformat(_RELEASED)
    if not bundle.is_file():
        return IndexWriter.init(folder, name="embedded", id=secrets.token_hex(16), roles=None, now=lambda: released)
    repo = BareRepo.init(folder)
    repo.set_head(repo.fetch(str(bundle)))
    return IndexWriter(repo, now=lambda: released)


def _unpack_newest(writer: IndexWriter, work: Path) -> dict[str, str]:
    """The newest version of each package in the index. The base, and experts that would be trained as
    they were, go to ``work``."""
    index = IndexSnapshot.enclosed(writer.repo, writer.head)
    published = {name: str(entries[-1].version) for name in (BASE_NAME, *EXPERTS) if (entries := index.entries(name))}
    for name in published if published.get(BASE_NAME) == BASE_VERSION else ():  # for another base all is trained anew
        folder = work / ("base" if name == BASE_NAME else name)
        if folder.is_dir():
            continue
        if name == BASE_NAME:
            unpack(index, index.entries(name)[-1], "source", folder)
            continue
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            found = unpack_whole(index, name, Path(scratch) / name)
            document = json.loads((found / MANIFEST).read_bytes())
            if document["training"] == json.loads((PACKAGES / name / MANIFEST).read_bytes())["training"]:
                (found / _JUDGED).write_text(json.dumps(document["quality_metrics"], indent=2) + "\n")
                shutil.move(found, folder)
    return published


def _version(source: Path) -> str:
    return str(Manifest.parse((source / MANIFEST).read_bytes()).version)


def _publish(writer: IndexWriter, packages: list[list[Path]], key: SigningKey) -> None:
    """Sign every package, and store it in the index; the first archive of a version says what its entry says."""
    try:
        keys = writer.publisher(PUBLISHER).keys
    except TrustError:
        keys = ()
    if key.key_id not in [each.public.key_id for each in keys]:
        keys = (*keys, PublisherKey(public=key.public, valid_from=_RELEASED))
        writer.put_publisher(Publisher(namespace=PUBLISHER, keys=keys))
    for archives in packages:
        manifests = [sign_archive(each, key, publisher=PUBLISHER, created_at=_RELEASED) for each in archives]
        signed = list(zip(archives, manifests, strict=True))
        refs = tuple(archive_ref(path, manifest) for path, manifest in signed)
        entry = entry_for(manifests[0], refs, publisher=PUBLISHER, key_id=key.key_id, published_at=_RELEASED)
        blobs = {path_in_index(manifest): path.read_bytes() for path, manifest in signed}
        writer.add_entry(entry, blobs=blobs)


def evaluate_bundle(bundle: Path, *, cases: int, report: Report) -> None:
    """Judge every expert of a bundle, as shipped, on freshly made cases, and the base alone; prints what it finds."""
    with (
        tempfile.TemporaryDirectory(prefix="xpm-evaluate-") as scratch,
        BareRepo.init(Path(scratch) / "index.git") as repo,
    ):
        index = IndexSnapshot.enclosed(repo, repo.fetch(str(bundle)))
        base = unpack(index, index.entries(BASE_NAME)[-1], "source", Path(scratch) / "base")
        for name in (each for each in EXPERTS if index.entries(each)):
            folder = unpack(index, index.entries(name)[-1], "", Path(scratch) / name)
            manifest = Manifest.parse((folder / MANIFEST).read_bytes())
            if "dataset" not in manifest.raw["training"]:
                report(f"{name} {manifest.version}: made by an earlier recipe, whose cases are not kept")
                continue
            _make_data(folder, dataset_settings(manifest.raw), lambda text: None)
            options = ValidationOptions(cases=cases, write_manifest=False)
            found = validate(folder, base, options, report=lambda text: None)
            for each in found.circles:
                stated = manifest.quality_metrics["circles"][each.circle.name]["right"]
                right, alone = 100 * each.expert.figures.right, 100 * each.base.figures.right
                report(
                    f"{name} {each.circle.name}: {right:.1f} % of {len(each.circle.rows)}, base {alone:.1f} %; stated "
                    f"{stated} %"
                )


def unpack_whole(index: IndexSnapshot, name: str, folder: Path) -> Path:
    """Unpack the newest version of an expert that has what PEFT saved into ``folder``."""
    for entry in reversed(index.entries(name)):
        unpack(index, entry, "", folder)
        if not is_compiled(folder):
            return folder
        shutil.rmtree(folder)
    raise BuildError(f"the index has no version of {name} with what PEFT saved")


def unpack(index: IndexSnapshot, entry: Entry, variant: str, folder: Path) -> Path:
    """Unpack a version's archive of that variant, which the index holds, into ``folder``; "" is an
    expert's for ``BASE_NAME``."""
    ref = next(each for each in entry.archives if (each.base, each.variant) == (BASE_NAME, variant))
    data = index.read_blob(ref.path_in_index) if ref.path_in_index else None
    if data is None or sha256_bytes(data) != ref.digest:
        raise BuildError(f"the archive of {entry.name} is damaged")
    archive = folder.with_suffix(".base" if variant else ".expert")
    folder.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(data)
    extract_archive(archive, folder)
    return folder
