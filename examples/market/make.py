"""One expert of the plan, from nothing to archives that can be signed; every step leaves its
result and is not repeated.

A specialist is trained for two dozen steps by what its manifest says, as ``xpm train`` does it. The two parts of an
embedded expert come of the singular values of its update. All are judged by ``xpm validate``'s judges on cases that
training did not see, and state what was found.
"""

import json
import os
import random
import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from examples.embedded.rebuild import BASE_NAME, PACKAGES
from examples.market.cut import cut_adapter
from examples.market.plan import CORE, REST, Planned, title_of
from examples.market.readme import readme
from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import TRAIN, split_rows
from xpm_build.domains.registry import OWN, draw_cases
from xpm_build.evaluation.findings import REPORT as JUDGED
from xpm_build.evaluation.validate import ValidationOptions, validate
from xpm_build.packages import BuiltArchive, build_expert
from xpm_build.rows import Row, read_rows, write_rows
from xpm_build.training.report import REPORT as TRAINED
from xpm_build.training.run import train
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest

_SEED, _FRESH_SEED = 5, 6
_DRAWN, _MOST_ROWS, _CASES = 6_000, 300, 30
_RANK, _CORE_RANK = 4, 4
_STORAGE = "float16"
VERSION, EARLIER = "0.2.0", "0.1.0"
BUILT = "built.json"


def draw_data(work: Path, domain: str) -> Path:
    """The file of a domain's cases, of which each specialist takes its own; drawn once."""
    path = work / "cases" / f"{domain}.jsonl"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        cases = islice(draw_cases(OWN[domain], _SEED, num_schemas=400), _DRAWN)
        partial = path.with_suffix(".partial")
        write_rows(partial, (each.to_row() for each in cases))
        partial.replace(path)
    return path


def make(planned: Planned, work: Path, embedded: Path) -> list[Path]:
    """The built, unsigned archives of an expert's versions, the oldest first.

    Args:
        embedded: as of ``base.unpack``.
    """
    folder = work / "experts" / planned.name
    done = folder / BUILT
    if not done.is_file():
        make_newest = _make_part if planned.kind in (CORE, REST) else _make_specialist
        newest = make_newest(planned, folder / VERSION, work, embedded)
        folders = [newest]
        if planned.has_earlier_version:
            folders.insert(0, _make_earlier(planned, newest, folder / EARLIER, embedded))
        built = [_build(planned, each, folder, embedded) for each in folders]
        partial = done.with_suffix(".partial")
        partial.write_text(json.dumps([each.path.name for each in built]))
        os.replace(partial, done)
    return [folder / name for name in json.loads(done.read_text())]


def _build(planned: Planned, folder: Path, out: Path, embedded: Path) -> BuiltArchive:
    (folder / "README.md").write_text(readme(planned, folder), encoding="utf-8")
    return build_expert(folder, out, base=embedded / "base", storage=_STORAGE)


def _make_specialist(planned: Planned, folder: Path, work: Path, embedded: Path) -> Path:
    if not (folder / MANIFEST).is_file():
        _write_manifest(folder, _manifest(planned, VERSION) | {"training": _training(planned)})
    settings = dataset_settings(json.loads((folder / MANIFEST).read_text()))
    path = folder / settings.path
    if not path.with_name(TRAIN).is_file():
        path.parent.mkdir(exist_ok=True)
        fitting = (row for row in read_rows(draw_data(work, planned.domain)) if row[planned.field] == planned.value)
        write_rows(path, islice(fitting, _MOST_ROWS))
        split_rows(read_rows(path), settings.split, path.parent)
    if not (folder / TRAINED).is_file():
        train(folder, embedded / "base")
    if not (folder / JUDGED).is_file():
        validate(folder, embedded / "base", ValidationOptions(cases=_CASES, threads=1))
    return folder


def _make_earlier(planned: Planned, newest: Path, folder: Path, embedded: Path) -> Path:
    """The newest version cut to rank 1, judged on the same cases."""
    if not (folder / JUDGED).is_file():
        document = json.loads((newest / MANIFEST).read_text()) | {"version": EARLIER, "quality_metrics": {}}
        document["source"] = {"derived_from": f"{planned.name} {VERSION}", "cut_to_rank": 1}
        _write_manifest(folder, document)
        shutil.copytree(newest / "data", folder / "data", dirs_exist_ok=True)
        cut_adapter(newest, folder, first=0, last=1)
        validate(folder, embedded / "base", ValidationOptions(cases=_CASES, threads=1))
    return folder


def _make_part(planned: Planned, folder: Path, work: Path, embedded: Path) -> Path:
    """A part of an embedded expert; the one that requires the other is judged beside it, as it is used."""
    if (folder / JUDGED).is_file() and Manifest.parse((folder / MANIFEST).read_bytes()).quality_metrics:
        return folder
    whole = embedded / f"expert-{planned.domain}"
    is_rest = planned.kind == REST
    document = _manifest(planned, VERSION)
    named = json.loads((whole / MANIFEST).read_text())
    ranks = "all but the first 4" if is_rest else "the first 4"
    document["source"] = {"derived_from": f"{named['name']} {named['version']}", "directions": ranks}
    _write_manifest(folder, document)
    cut_adapter(whole, folder, first=_CORE_RANK if is_rest else 0, last=None if is_rest else _CORE_RANK)
    cases = folder / "rows.jsonl"
    write_rows(cases, _fresh_rows(planned.domain))
    others = (work / "experts" / planned.requires / VERSION,) if is_rest else ()
    options = ValidationOptions(file=cases, cases=_CASES, others=others, threads=1, write_manifest=not is_rest)
    validate(folder, embedded / "base", options)
    if is_rest:
        _state_beside(folder, planned)
    return folder


def _fresh_rows(domain: str) -> list[Row]:
    return [each.to_row() for each in islice(draw_cases(OWN[domain], _FRESH_SEED, num_schemas=400), _CASES)]


def _state_beside(folder: Path, planned: Planned) -> None:
    """Put into the manifest what the expert and the one that it requires answered together."""
    (found,) = json.loads((folder / JUDGED).read_text())["circles"].values()
    (together,) = found["compositions"].values()
    right, base = 100 * together["figures"]["right"], 100 * found["base"]["right"]
    alone = 100 * found["expert"]["right"]
    circle = {"cases": found["cases"], "right": round(right, 1), "base": round(base, 1)}
    document = json.loads((folder / MANIFEST).read_text())
    document["quality_metrics"] = {
        "benchmark_score": round(right, 1),
        "base_model_score": round(base, 1),
        "circles": {"rows": circle},
    }
    document["limitations"] = [f"Alone it is right on {alone:.1f} %: the figures are of it beside {planned.requires}."]
    _write_manifest(folder, document)


def _manifest(planned: Planned, version: str) -> dict[str, Any]:
    """What an expert's manifest says before it is judged; routing and decoding are those of the embedded expert."""
    model = json.loads((PACKAGES / f"expert-{planned.domain}" / MANIFEST).read_text(encoding="utf-8"))
    capabilities = [title_of(planned.domain).lower(), *([planned.value] if planned.field == "family" else [])]
    if planned.field == "language":
        capabilities.append(planned.name.rsplit("-", 1)[1])
    document: dict[str, Any] = {
        "schema_version": "2.0",
        "kind": "expert",
        "name": planned.name,
        "version": version,
        "description": planned.description,
        "author": planned.publisher,
        "license": "Apache-2.0",
        "capabilities": capabilities,
        "tags": ["demonstration", planned.kind],
        "base_models": [{"name": BASE_NAME, "prompt_template": "chatml"}],
        "routing": model["routing"],
        "constraints": {"load_order": model["constraints"]["load_order"], "max_chain": 10},
        "evaluation": {"language": planned.domain},
        "decoding": model["decoding"],
    }
    if planned.requires:
        document["constraints"]["requires"] = [f"{planned.requires}@^{VERSION}"]
    return document


def _training(planned: Planned) -> Mapping[str, Any]:
    """So few steps that a core takes a quarter of a minute."""
    return {
        "dataset": {
            "_rows": f"the template domain {planned.domain}, {planned.field} {planned.value} alone",
            "split": {"seed": 1, "valid": 0.02, "test": 0.12},
        },
        "config": {
            "adapter_type": "lora",
            "rank": _RANK,
            "alpha": 2 * _RANK,
            "learning_rate": 4e-3,
            "batch_size": 6,
            "max_steps": 24,
            "warmup_steps": 3,
            "attn_implementation": "eager",
            "max_seq_length": 512,
            "metric": "loss",
            "eval_steps": 24,
            "seed": random.Random(planned.name).randrange(1000),
            "save_dtype": "bfloat16",
        },
    }


def _write_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
