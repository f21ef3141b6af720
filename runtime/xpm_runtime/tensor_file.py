"""Writing safetensors so that the same content is the same bytes: the library orders metadata differently each time."""

import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

_ALIGNMENT = 8


def tensor_bytes(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of C-contiguous arrays, its metadata in the order that is given."""
    from safetensors.numpy import save

    data: bytes = save(dict(tensors))
    length = int.from_bytes(data[:8], "little")
    stated = {"__metadata__": dict(metadata), **json.loads(data[8 : 8 + length])}
    header = json.dumps(stated, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
