"""A new expert's folder: what a publisher starts from, complete but for what only the publisher knows."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from xpm.errors import UsageError
from xpm.files import write_atomically
from xpm.operations.clock import now
from xpm_index.names import validate_name

_README = """# {name}

What it does, in one sentence.

- Base: {base}
- Trained on: see `training` in manifest.json
- License: {license}

## Use

    xpm install {name}
    xpm run --expert {name} "…"

## Examples

One prompt and its answer, as the expert writes it.

## Figures

`xpm validate` writes them into manifest.json and `validation/report.md`.

## What it can't do

State it here and under `limitations` in manifest.json.
"""
_ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.expert filter=lfs diff=lfs merge=lfs -text\n"
_IGNORED = ".xpm/\ndata/\ntraining/checkpoints/\nvalidation/answers.*\ndist/\n"
_NUM_EXAMPLES = 8


def new_expert(folder: Path, *, base: str, license: str, domain: str = "") -> list[Path]:
    """Scaffold a folder named like its expert; the files made.

    Args:
        domain: one that has templates, whose data needs no provider; "" for any other subject.
    Raises:
        UsageError: the folder is not empty, or the domain is unknown. InvalidName: its name is no name for an expert.
    """
    from xpm_build.domains import DOMAINS

    name = validate_name(folder.resolve().name)
    validate_name(base, what="base name")
    if domain and domain not in DOMAINS:
        raise UsageError(
            f"{domain!r} is no domain with templates", hint=f"choose of {', '.join(DOMAINS)}, or leave it out"
        )
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder")
    files = {
        "manifest.json": json.dumps(_manifest(name, base, license, domain), indent=2, ensure_ascii=False) + "\n",
        "README.md": _README.format(name=name, base=base, license=license),
        "LICENSE": _license(license),
        "tests/test_cases.jsonl": _test_cases(domain),
        ".gitattributes": _ATTRIBUTES,
        ".gitignore": _IGNORED,
    }
    for path, text in files.items():
        write_atomically(folder / path, text.encode())
    return [folder / path for path in files]


def _manifest(name: str, base: str, license: str, domain: str) -> dict[str, Any]:
    from xpm_build.domains import DOMAINS

    load_order, language = (DOMAINS[domain].load_order, DOMAINS[domain].language) if domain else (5, "text")
    generation: dict[str, Any] = {"provider": "template", "domain": domain, "count": 10000, "seed": 1}
    if not domain:
        generation = {
            "provider": "openai",
            "model": "gpt-4o",
            "task": f"What {name} has to do, in a sentence or two.",
            "count": 2000,
        }
    hold_out = {"group": 0.2, "phrasing": 0.18} if domain else {}
    return {
        "schema_version": "2.0",
        "name": name,
        "version": "0.1.0",
        "description": "",
        "license": license,
        "base_models": [{"name": base, "prompt_template": "chatml"}],
        "capabilities": [domain] if domain else [],
        "tags": [],
        "routing": {"keywords": [domain] if domain else []},
        "constraints": {"load_order": load_order, "requires": [], "incompatible_with": []},
        "training": {
            "dataset": {
                "generation": generation,
                "preprocessing": {"near_duplicates": 0.95},
                "split": {"seed": 1, "valid": 0.05, "test": 0.1, "hold_out": hold_out},
            },
            "config": {
                "method": "sft",
                "adapter_type": "dora",
                "rank": 16,
                "alpha": 32,
                "learning_rate": 1e-3,
                "batch_size": 32,
                "epochs": 2,
                "warmup_ratio": 0.05,
                "lr_scheduler": "cosine",
                "eval_steps": 100,
                "eval_cases": 100,
                "seed": 1,
            },
        },
        "evaluation": {"language": language},
        "decoding": {"temperature": 0.0, "max_tokens": 256},
        "limitations": [],
    }


def _license(license: str) -> str:
    """The license's text if it is one of those at hand, else its name."""
    file = resources.files("xpm.operations") / "licenses" / f"{license}.txt"
    if not file.is_file():
        return f"SPDX-License-Identifier: {license}\n\nPut the text of the license here.\n"
    return file.read_text(encoding="utf-8").replace("{year}", now()[:4]).replace("{holder}", "the authors")


def _test_cases(domain: str) -> str:
    from xpm_build.domains import DOMAINS, draw_cases

    if not domain:
        return json.dumps({"prompt": "A prompt", "completion": "The answer that is wanted"}) + "\n"
    cases = draw_cases(DOMAINS[domain], 0, num_schemas=100)
    rows = [next(cases).to_row() for _ in range(_NUM_EXAMPLES)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
