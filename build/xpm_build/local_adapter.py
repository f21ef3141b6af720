"""An expert made of what PEFT saved, on the machine that runs it: compiled for one base, described, signed by nobody.

Needs numpy, no torch. The base is known by its configuration; its weights are read only where a method folds them in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.adapter.hub_folder import README, license_of
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_config, read_weights
from xpm_build.base.adaptable import Adaptable
from xpm_build.base.architecture import obstacle_to_writing
from xpm_build.base.checkpoint import Checkpoint
from xpm_build.base.configuration import read_configuration
from xpm_build.errors import BuildError, UnfitError
from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_file
from xpm_index.manifest import Manifest
from xpm_runtime.adapter import SLOTS

ALONGSIDE = (README, "LICENSE")
FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, *ALONGSIDE)
"""What an adapter is made of: what counts for its digest, and goes into the package."""
_IN_EVERY_LAYER = ("LORA", "IA3")  # whose tensors are there for every module that the configuration names


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an adapter's configuration says that it was trained on: a hub's id or a path, and a
    revision of it; "" if nothing."""

    model: str
    revision: str


def origin_of(folder: Path) -> Origin:
    """Raises BuildError if the folder has no configuration of an adapter that is supported."""
    config = read_config(folder)
    model, revision = (config.get(key) for key in ("base_model_name_or_path", "revision"))
    return Origin(model=_told(model), revision=_told(revision))


def needs_weights(folder: Path, base: Path) -> bool:
    """Whether the adapter in ``folder`` is compiled with the weights of the base whose configuration is in ``base``."""
    config = read_config(folder)
    if config["peft_type"] == "IA3":
        return any(linear.has_bias for linear in _known_by_configuration(base).slots)
    return bool(config["peft_type"] == "LORA" and config.get("use_dora"))


def make_local_adapter(
    source: Path,
    out: Path,
    *,
    name: str,
    version: str,
    description: str,
    base: Path,
    base_name: str,
    base_digest: str,
    weights: Checkpoint | None,
) -> float:
    """Compile the adapter in ``source``: the same bytes from the same files, always.

    Args:
        out: a new folder, which gets the slots, the files of the adapter and manifest.json.
        base: the folder of the installed base.
        weights: those of the base's model, if ``needs_weights``.
    Returns:
        The share of an update that had to be cut, 0 if it is exact.
    Raises:
        UnfitError: its tensors are of another base. BuildError: it is not supported, or malformed.
    """
    adaptable = _known_by_configuration(base, weights)
    config = read_config(source)
    _require_every_layer(config, read_weights(source), adaptable)
    adapter = compile_adapter(source, adaptable)
    out.mkdir()
    save_slots(adapter, out / SLOTS, base_digest=base_digest)
    kept = [each for each in FILES if (source / each).is_file()]
    for each in kept:
        (out / each).write_bytes((source / each).read_bytes())
    facts = {
        "type": adapter.kind,
        "path": ADAPTER_WEIGHTS,
        "size_bytes": (source / ADAPTER_WEIGHTS).stat().st_size,
        "sha256": sha256_file(source / ADAPTER_WEIGHTS).removeprefix("sha256:"),
    }
    if adapter.rank:
        facts["r"] = adapter.rank
    stated = origin_of(source)
    manifest = {
        "schema_version": "2.0",
        "kind": "expert",
        "name": name,
        "version": version,
        "description": description,
        "license": license_of(source),
        "base_models": [{"name": base_name, "sha256": base_digest.removeprefix("sha256:"), "adapters": [facts]}],
        "trained_on": {"model": stated.model, "revision": stated.revision},
    }
    (out / MANIFEST).write_bytes(Manifest(manifest).to_bytes())
    return adapter.truncation


def _told(value: object) -> str:
    return value[:200] if isinstance(value, str) and value.isprintable() else ""


def _known_by_configuration(base: Path, weights: Checkpoint | None = None) -> Adaptable:
    configuration = read_configuration(base)
    if obstacle := obstacle_to_writing(configuration):
        raise BuildError(
            "adapters for a base whose graph was traced are not compiled when they are installed",
            context=obstacle,
            hint="compile it with `xpm build expert`, which takes the build extra",
        )

    def read(name: str) -> NDArray[np.float32]:
        assert weights is not None, "needs_weights said otherwise"
        if name not in weights:
            raise BuildError(f"the base has no tensor {name}")
        return weights[name]

    return Adaptable.of_configuration(configuration, read)


def _require_every_layer(config: Mapping[str, Any], weights: Mapping[str, Any], base: Adaptable) -> None:
    """Raise UnfitError if the base has layers that the adapter, by its own account, would have tensors for."""
    modules = config.get("target_modules")
    chosen = ("layers_to_transform", "layers_pattern", "exclude_modules")
    some_layers = any(config.get(key) not in (None, "", []) for key in chosen)
    if some_layers or not isinstance(modules, list) or config["peft_type"] not in _IN_EVERY_LAYER:
        return
    lacking = [
        linear.path
        for linear in base.slots
        if linear.path.rpartition(".")[2] in modules and not any(f".{linear.path}." in name for name in weights)
    ]
    if lacking:
        raise UnfitError(
            f"{ADAPTER_WEIGHTS} has nothing for {lacking[0]}",
            context=f"its configuration names {', '.join(map(str, modules))[:120]} in every layer",
            hint="the adapter was trained on another base",
        )
