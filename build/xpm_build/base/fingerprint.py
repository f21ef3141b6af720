"""The base's digest: SHA-256 of its canonical weights, shared by every variant made from them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fingerprint(weights: Mapping[str, NDArray[np.float32]], config: Any) -> str:
    """Digest of the weights as float32, little-endian, in the order of their names.

    Each tensor is preceded by a line ``name:dim,dim\\n``. A tied ``lm_head.weight`` is left out, so that it
    does not matter whether a file repeats it. The values, not their storage type, count: bfloat16 and float32
    files of equal values agree.
    """
    digest = hashlib.sha256(b"xpm-base-v1\n")
    for name in sorted(weights):
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        tensor = np.ascontiguousarray(weights[name], dtype="<f4")
        digest.update(f"{name}:{','.join(map(str, tensor.shape))}\n".encode())
        digest.update(tensor.data)
    return "sha256:" + digest.hexdigest()


def base_digest(model: Any) -> str:
    """The fingerprint of a loaded Hugging Face model's weights."""
    weights = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
    return fingerprint(weights, model.config)
