"""A model as a Hugging Face folder, for what reads nothing else: Transformers, PEFT and TRL."""

import json
import math
from pathlib import Path

from xpm_build.base.checkpoint import WEIGHTS, Checkpoint


def write_model_folder(checkpoint: Checkpoint, out: Path) -> None:
    """Write a checkpoint to the new folder ``out``: its weights as float32, one tensor in memory at a
    time, and its text files.

    Raises:
        BuildError: a tensor is stored in a way that is not read.
    """
    out.mkdir(parents=True)
    checkpoint.write_text_files(out)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in checkpoint:
        shape = checkpoint.shape(name)
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    stated = json.dumps(header, separators=(",", ":")).encode()
    stated += b" " * (-len(stated) % 8)
    with (out / WEIGHTS).open("wb") as file:
        file.write(len(stated).to_bytes(8, "little") + stated)
        for name in checkpoint:
            file.write(checkpoint[name].astype("<f4", copy=False).tobytes())
