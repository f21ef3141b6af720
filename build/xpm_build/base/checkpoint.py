"""The weights of a Hugging Face folder, read one tensor at a time: a base of any size is exported in the memory of its largest."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from xpm_build.errors import BuildError

_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class Weights(Mapping[str, torch.Tensor]):
    """Tensors by name, each read when it is asked for, as float32."""

    def __init__(self, source: Path) -> None:
        """Raises BuildError if the folder has no safetensors weights (pickles are never read)."""
        self._files: dict[str, Path] = {}
        try:
            if (source / _INDEX).is_file():
                shards = json.loads((source / _INDEX).read_text(encoding="utf-8"))["weight_map"]
                self._files = {str(name): source / Path(file).name for name, file in shards.items()}
            else:
                with safe_open(source / _ONE_FILE, framework="pt") as file:
                    self._files = dict.fromkeys(file.keys(), source / _ONE_FILE)
        except (OSError, SafetensorError, ValueError, KeyError, AttributeError) as error:
            raise BuildError(
                f"the weights in {source} could not be read",
                context=str(error)[:200],
                hint=f"a model folder has {_ONE_FILE}, or {_INDEX} and its shards",
            ) from error

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name).to(torch.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def num_parameters(self, *, is_tied: bool) -> int:
        """How many numbers there are, a head tied to the embedding counted once. Reads no weights."""
        total = 0
        for name, path in self._files.items():
            if not (is_tied and name == "lm_head.weight"):
                with safe_open(path, framework="pt") as file:
                    total += math.prod(file.get_slice(name).get_shape())
        return total

    def require(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor that must be there, of this shape and finite; raises BuildError otherwise."""
        if name not in self._files:
            raise BuildError(f"the base has no tensor {name}", context=f"it has {len(self)} tensors")
        tensor = self[name]
        if tuple(tensor.shape) != shape:
            raise BuildError(f"{name} has shape {tuple(tensor.shape)}, the configuration says {shape}")
        if not torch.isfinite(tensor).all():
            raise BuildError(f"{name} has values that are not finite numbers")
        return tensor
