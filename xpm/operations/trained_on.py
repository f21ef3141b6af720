"""Whether an adapter was trained on the model that a base was made of, as far as names tell."""

import re
from typing import TYPE_CHECKING

from xpm.lockfile import LockedPackage, Made
from xpm.sources import HUB, is_hub_id
from xpm_index.errors import ManifestError
from xpm_index.manifest import base_name

if TYPE_CHECKING:
    from xpm_build.local_adapter import Origin

_QUANTISED = re.compile(r"(-(gguf|ggml|f16|f32|bf16|fp16|i?q[0-9](-[0-9a-z]{1,2})*))+$")


def differing_base(stated: "Origin", base: LockedPackage) -> str | None:
    """How the model that an adapter states it was trained on differs from the base, None if it is the
    same as far as names tell.

    A base made of a hub's model is known by its id, which must be equal but for case; another by its name, without what
    says how it was quantised.
    """
    if not stated.model:
        return f"does not say what it was trained on, here is {shown(base)}"
    told = f"was trained on {stated.model}, here is {shown(base)}"
    known, revision, commit = _hub_origin(base)
    if known and is_hub_id(stated.model):
        if known.casefold() != stated.model.casefold():
            return told
        named = stated.revision not in ("", "main")
        if named and stated.revision != revision and not commit.startswith(stated.revision):
            return f"was trained on {stated.model} at {stated.revision}, here is {shown(base)}"
        return None
    try:
        wanted = base_name(stated.model)
    except ManifestError:
        return told
    return None if _plain(wanted) == _plain(base.name) else told


def _hub_origin(base: LockedPackage) -> tuple[str, str, str]:
    """(id, named revision, commit) of the hub's model that a base was made of; "" of what was converted from one."""
    if not isinstance(base.origin, Made):
        return "", "", ""
    model = base.origin.source.removeprefix("model:").partition(" ")[0]
    named, _, file = model.partition("#")
    if not named.startswith(HUB) or file:
        return "", "", ""
    model_id, _, revision = named.removeprefix(HUB).partition("@")
    return model_id, revision, base.origin.revision


def _plain(name: str) -> str:
    return _QUANTISED.sub("", name)


def shown(base: LockedPackage) -> str:
    if isinstance(base.origin, Made):
        at = f" at {base.origin.revision[:12]}" if base.origin.revision else ""
        return f"{base.name} ({base.origin.source.removeprefix('model:').partition(' ')[0]}{at})"
    return str(base)
