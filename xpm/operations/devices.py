"""Which of ONNX Runtime's providers may be used here: those that were seen to compute what the CPU computes.

The CPU is the yardstick and CUDA has tests of its own; any other is refused until `xpm doctor --device NAME` has
compared it, for this base, in this version of ONNX Runtime. What it found good is kept in the home.
"""

import json

from xpm.errors import UsageError
from xpm.files import write_atomically
from xpm.home import Home
from xpm.operations.parts import Part

_KNOWN_GOOD = ("auto", "cpu", "cuda")
_FILE = "devices.json"


def require_checked(home: Home, base: Part, device: str) -> None:
    """Raise UsageError if a device was never compared with the CPU for this base."""
    if device in _KNOWN_GOOD or _key(base, device) in _read(home):
        return
    raise UsageError(
        f"--device {device} was not compared with the CPU yet, for this base and this ONNX Runtime",
        hint=f"run `xpm doctor --device {device}` once: it says whether it computes the same",
    )


def remember(home: Home, base: Part, device: str) -> None:
    """Keep that a device computes what the CPU does."""
    with home.locked():
        keys = sorted({*_read(home), _key(base, device)})
        write_atomically(home.root / _FILE, json.dumps(keys, indent=1).encode())


def _key(base: Part, device: str) -> str:
    from xpm_runtime.graph import GraphSpec
    from xpm_runtime.session import RUNTIME_VERSION

    graph = GraphSpec.read(base.folder)
    return f"{device} onnxruntime-{RUNTIME_VERSION} {graph.base_digest} {graph.variant}"


def _read(home: Home) -> list[str]:
    try:
        return [str(each) for each in json.loads((home.root / _FILE).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []
