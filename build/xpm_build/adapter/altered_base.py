"""Adapters whose initialisation altered the base (PiSSA, OLoRA, CorDA, LoRA-GA), as plain LoRA.

Such an adapter starts as a part of the base's weights, which are lessened by as much: W = W' + B₀A₀. What was
trained acts on W', and nobody else's base is that one. On W the change is BA - B₀A₀, a LoRA of twice the rank:
[B, -B₀] and [A; A₀]. A₀ and B₀ are the adapter as it was saved before training, by PEFT's convention in a folder
named like ``pissa_init``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Parts, number, read_config, read_weights
from xpm_build.errors import BuildError

_SUBTRACTABLE = {"pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "lora_ga": "LoRA-GA"}
_QUANTISED = "loftq"


def without_beginning(folder: Path, config: dict[str, Any], weights: Parts) -> tuple[dict[str, Any], Parts]:
    """(configuration, weights) of the adapter in ``folder`` as a change of the base that it started from.

    One whose initialisation left the base alone is given back as it is.

    Raises:
        BuildError: it altered the base, and the adapter as it was before training is not beside it or is another one's.
    """
    stated = str(config.get("init_lora_weights")).lower()
    if stated == _QUANTISED:
        raise BuildError(
            "the adapter was trained on a base that LoftQ had quantised",
            context="it is no change of the base as published",
            hint="build a base of the model that was trained on, with `xpm build base`, and the expert for that one",
        )
    method = next((each for each in _SUBTRACTABLE if stated.startswith(each)), "")
    if not method:
        return config, weights
    if config.get("use_dora"):
        raise BuildError(
            f"{_SUBTRACTABLE[method]} together with DoRA is not supported", context="the norms are of another base"
        )
    names = (f"{method}_init", "initial_adapter")
    beginning = next(
        (each for each in (parent / name for parent in (folder, folder.parent) for name in names) if each.is_dir()),
        None,
    )
    if beginning is None:
        raise BuildError(
            f"the adapter was initialised with {_SUBTRACTABLE[method]}, which took a part out of the base's weights",
            context=f"{ADAPTER_CONFIG} has init_lora_weights {config['init_lora_weights']!r}: no change of the "
            "published base",
            hint=f"put the adapter as it was before training beside it as {method}_init/, or convert it when saving: "
            "model.save_pretrained(FOLDER, path_initial_model_for_weight_conversion=INITIAL_ADAPTER)",
        )
    _require_same(config, read_config(beginning), beginning)
    return _doubled(config), _subtracted(weights, read_weights(beginning), beginning)


def _require_same(config: Mapping[str, Any], first: Mapping[str, Any], beginning: Path) -> None:
    for key in ("peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"):
        if (config.get(key) or None) != (first.get(key) or None):
            raise _another(beginning, f"{key} is {config.get(key)!r} in the one, {first.get(key)!r} in the other")


def _subtracted(weights: Parts, first: Parts, beginning: Path) -> Parts:
    if weights.keys() != first.keys():
        raise _another(beginning, f"only one of them has {min(weights.keys() ^ first.keys())[:120]}")
    joined = {}
    for name, tensor in weights.items():
        if tensor.shape != first[name].shape:
            raise _another(beginning, f"{name[:120]} is {tuple(tensor.shape)} and {tuple(first[name].shape)}")
        is_a = ".lora_A." in name
        joined[name] = np.concatenate([tensor, first[name] if is_a else -first[name]], axis=0 if is_a else 1)
    return joined


def _another(beginning: Path, context: str) -> BuildError:
    return BuildError(
        f"{beginning} is not what the adapter began as",
        context=context,
        hint=f"it must hold the {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} that were saved before training",
    )


def _doubled(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the same scale at twice the rank."""
    growth = 2**0.5 if config.get("use_rslora") else 2
    return {
        **config,
        "init_lora_weights": True,
        "r": 2 * config["r"],
        "lora_alpha": growth * number(config, "lora_alpha"),
        "rank_pattern": {key: 2 * value for key, value in (config.get("rank_pattern") or {}).items()},
        "alpha_pattern": {key: growth * value for key, value in (config.get("alpha_pattern") or {}).items()},
        "corda_config": None,
        "lora_ga_config": None,
    }
