"""From a package to the card that the router knows of it."""

import re
from collections.abc import Mapping, Sequence

from xpm.operations.parts import Part
from xpm_index.manifest import Manifest
from xpm_index.requirements import Requirement
from xpm_index.versions import Version
from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.head import Head

_README = "README.md"
_MAX_README_BYTES = 200_000
_MAX_EXAMPLES = 100
_EXAMPLE = re.compile(r"```prompt\n(.*?)\n```", re.DOTALL)


def cards_of(parts: Sequence[Part]) -> list[RoutingCard]:
    """The cards of installed experts, in the same order; raises ModelLoadError if a package's head cannot be read."""
    versions = {part.name: part.manifest.version for part in parts if part.manifest is not None}
    return [_card_of(part, part.manifest, versions) for part in parts if part.manifest is not None]


def _card_of(part: Part, manifest: Manifest, versions: Mapping[str, Version]) -> RoutingCard:
    routing = manifest.routing
    return RoutingCard(
        name=part.name,
        keywords=routing.keywords,
        exclude_keywords=routing.exclude_keywords,
        priority=routing.priority,
        capabilities=manifest.capabilities,
        description=manifest.description,
        examples=_examples(part),
        hint=routing.router_hint,
        tier=manifest.tier,
        requires=_met_by(manifest.requires, versions),
        incompatible=_met_by(manifest.incompatible_with, versions),
        head=Head.read(part.folder),
    )


def _met_by(requirements: Sequence[Requirement], versions: Mapping[str, Version]) -> tuple[str, ...]:
    """The names among ``versions`` that requirements mean."""
    return tuple(
        name
        for each in requirements
        for name in each.name.spellings()
        if name in versions and each.range.contains(versions[name])
    )


def _examples(part: Part) -> tuple[str, ...]:
    """The prompts in the README; none if there is none, or it is no text."""
    path = part.folder / _README
    if not path.is_file():
        return ()
    with path.open("rb") as file:
        text = file.read(_MAX_README_BYTES).decode(errors="replace")
    return tuple(_EXAMPLE.findall(text)[:_MAX_EXAMPLES])
