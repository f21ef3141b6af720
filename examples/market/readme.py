"""The card of an expert: what it answered, how it was made, how good it was found to be."""

import json
from pathlib import Path
from typing import Any

from examples.market.plan import CORE, REST, Planned
from xpm_build.evaluation.findings import ANSWERS
from xpm_build.rows import read_rows
from xpm_index.archive import MANIFEST

_MOST_EXAMPLES = 3


def readme(planned: Planned, folder: Path) -> str:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    parts = [
        f"# {planned.name}",
        f"{planned.description}. It is part of a demonstration of a marketplace: small, quickly made, really measured.",
        _examples(planned, folder),
        f"## How it was made\n\n{_made(planned, manifest)}",
        f"## How good it is\n\n{_quality(planned, manifest)}",
    ]
    return "\n\n".join(each for each in parts if each) + "\n"


def _examples(planned: Planned, folder: Path) -> str:
    """The shortest cases that it answered rightly, as it answered them."""
    if planned.kind == REST:  # these are its answers alone
        return ""
    rows = list(read_rows(_cases(folder)))
    judged = [each for each in read_rows(folder / ANSWERS) if each["right"]]
    judged.sort(key=lambda each: (len(rows[each["number"]]["prompt"]), each["number"]))
    shown = [
        f"```prompt\n{rows[each['number']]['prompt']}\n```\n```{planned.domain}\n{each['answer']}\n```"
        for each in judged[:_MOST_EXAMPLES]
    ]
    return "## Examples\n\n" + "\n\n".join(shown) if shown else ""


def _cases(folder: Path) -> Path:
    own = folder / "rows.jsonl"
    return own if own.is_file() else folder / "data" / "test-rows.jsonl"


def _made(planned: Planned, manifest: dict[str, Any]) -> str:
    source = manifest.get("source", {})
    if planned.kind in (CORE, REST):
        return (
            f"The update of {source['derived_from']}, split by its singular values without training: this package holds"
            f" {source['directions']} of sixteen directions for each linear."
        )
    trained = manifest["training"]["config"]
    text = (
        f"A LoRA adapter of rank {trained['rank']}, trained for {trained['max_steps']} steps of "
        f"{trained['batch_size']} rows on"
        f" generated cases of the domain `{planned.domain}` with the {planned.field} `{planned.value}`."
    )
    return text + (" Of its update this version keeps the strongest direction alone." if source else "")


def _quality(planned: Planned, manifest: dict[str, Any]) -> str:
    (circle,) = manifest["quality_metrics"]["circles"].values()
    beside = f", beside {planned.requires}," if planned.kind == REST else ""
    return (
        f"What it wrote was run{beside} for {circle['cases']} cases that it had not seen: {circle['right']} % were "
        f"right; of the base alone {circle['base']} %. So few cases leave a wide interval."
    )
