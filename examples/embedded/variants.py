"""The same expert trained with other adapters: what DoRA, LoRA and IA3 come to at equal size, for
docs/reference/experts.md.

Each has 18,432 numbers, which is what IA3 has on all seven linears of the base.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from examples.embedded.rebuild import PACKAGES, make_experts
from xpm_build.evaluation.findings import read_report
from xpm_build.evaluation.report import percent, to_markdown
from xpm_build.training.report import REPORT
from xpm_index.archive import MANIFEST

COMPARED = ("expert-sql", "expert-json")
_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "dora": {
        "adapter_type": "dora",
        "rank": 1,
        "alpha": 2,
        "learning_rate": 5e-3,
        "target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"],
    },
    "lora": {
        "adapter_type": "lora",
        "rank": 1,
        "alpha": 2,
        "learning_rate": 5e-3,
        "target_modules": ["q_proj", "o_proj", "gate_proj", "up_proj"],
    },
    "ia3": {
        "adapter_type": "ia3",
        "rank": None,
        "alpha": None,
        "learning_rate": 1e-2,
        "target_modules": _ALL,
        "feedforward_modules": ["down_proj"],
    },
}
_STEPS = 150


def compare_adapters(work: Path, *, report: Callable[[str], None]) -> str:
    """Train and judge every variant on the data that its expert was made of; a table in Markdown.

    Args:
        work: the work folder of a finished ``rebuild``.
    """
    made = [(name, variant) for name in COMPARED for variant in VARIANTS]
    places = [
        (_source(work / "variants", name, variant, work / name / "data"), work / "variants" / name / variant)
        for name, variant in made
    ]
    rows = [["expert", "adapter", "numbers", "rows", "group", "phrasing"]]
    for (name, variant), folder in zip(made, make_experts(places, work / "base", report=report), strict=True):
        trained, judged = json.loads((folder / REPORT).read_text()), read_report(folder)
        shares = [percent(circle["expert"]["right"]) for circle in judged["circles"].values()]
        rows.append([name, variant, f"{trained['trainable_parameters']:,}", *shares])
    return to_markdown([("table", rows)])


def _source(folder: Path, name: str, variant: str, data: Path) -> Path:
    """A copy of an expert's package with another adapter in its manifest, and its data."""
    source = folder / "sources" / name / variant
    shutil.copytree(PACKAGES / name, source, dirs_exist_ok=True)
    shutil.copytree(data, source / "data", dirs_exist_ok=True)
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    manifest["training"]["config"] |= {**VARIANTS[variant], "max_steps": _STEPS}
    (source / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return source
