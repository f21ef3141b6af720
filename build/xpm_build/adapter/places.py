"""Where, in an expert's folder, the adapters are that its manifest names, and which of them are for a base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.errors import BuildError
from xpm_index.manifest import Manifest, base_name


def adapter_places(manifest: Manifest, folder: Path) -> list[Path]:
    """The folders, relative to the expert's, of the PEFT adapters that it consists of: where its manifest's paths lead.

    Older manifests name a file that was never there and keep the adapter beside them: where no path
    leads to one, it is there.

    Raises:
        BuildError: a path leads out of the folder, or some of them, or one of a soft prompt, lead
            to nothing that PEFT saved.
    """
    base = (manifest.raw.get("base_models") or [manifest.raw.get("base_model") or {}])[0]
    prompts = {_place(each): each for each in manifest.raw.get("soft_prompts") or []}
    entries = base.get("adapters") or manifest.raw.get("adapters") or []
    places = list(dict.fromkeys([*map(_place, entries), *prompts]))
    found = [place for place in places if (folder / place / ADAPTER_CONFIG).is_file()]
    if any(place.is_absolute() or ".." in place.parts for place in found):
        raise BuildError("an adapter's path leads out of the expert's folder", context=", ".join(map(str, found)))
    lost = [place for place in places if place not in found and (found or place in prompts)]
    if lost:
        what = "a soft prompt" if lost[0] in prompts else "an adapter"
        raise BuildError(
            f"the manifest names {what} in {lost[0]}/, where there is none",
            context=f"{folder / lost[0]} has no {ADAPTER_CONFIG}",
            hint="put in the folder that PEFT's save_pretrained wrote, or take the entry out",
        )
    for place in prompts:
        if Path(str(prompts[place]["path"])).name != ADAPTER_WEIGHTS:
            raise BuildError(
                f"a soft prompt is {ADAPTER_WEIGHTS} as PEFT saves it",
                context=f"the manifest names {prompts[place]['path']}",
                hint="name that file; pickles are never read",
            )
    return found or [Path()]


def for_base(manifest: Manifest, digest: str, name: str | None = None) -> Manifest:
    """The manifest with one of its bases alone: that of these weights, else one whose weights it does not say, of
    that name or the only one.

    Raises:
        BuildError: it names none such, or several.
    """
    bases = manifest.bases
    found = [number for number, each in enumerate(bases) if each.digest == digest] or [
        number
        for number, each in enumerate(bases)
        if each.digest is None and (len(bases) == 1 or (name and each.name == base_name(name)))
    ]
    if len(found) != 1:
        stated = ", ".join(f"{each.name} ({each.digest or 'any weights'})" for each in bases)
        raise BuildError(
            "the manifest is for other weights than those of the base",
            context=f"it wants {stated}; the base is {digest}",
            hint="name one of these, or write the base's sha256 into base_models",
        )
    return manifest if len(bases) == 1 else manifest.with_values(base_models=[manifest.raw["base_models"][found[0]]])


def _place(entry: Mapping[str, Any]) -> Path:
    return Path(str(entry.get("path") or ADAPTER_WEIGHTS)).parent
