"""A model as it was published, read one tensor at a time: a base of any size is exported in the
memory of its largest matrix."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from xpm_build.base.configuration import Configuration, read_configuration
from xpm_build.base.quantize import QuantizedMatrix
from xpm_build.base.safetensors_file import BFLOAT16, StoredTensor, stored_tensors
from xpm_build.base.text_files import copy_text_files
from xpm_build.errors import BuildError

WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TYPES = ("F64", "F32", "F16", BFLOAT16)


class Checkpoint(Mapping[str, NDArray[np.float32]], ABC):
    """Tensors by the names that a Hugging Face model gives them, each read when it is asked for, as float32."""

    configuration: Configuration

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that is there; reads no weights."""

    @abstractmethod
    def write_text_files(self, out: Path) -> None:
        """Write config.json, the tokenizer's files, and what else of the model is text."""

    def quantized(self, name: str) -> QuantizedMatrix | None:
        """A matrix in the numbers that it is stored in, or None if those are floats."""
        return None

    def num_parameters(self) -> int:
        """How many numbers there are, a head tied to the embedding counted once."""
        left_out = "lm_head.weight" if self.configuration.tie_word_embeddings else ""
        return sum(math.prod(self.shape(name)) for name in self if name != left_out)

    def require(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A tensor that must be there, of this shape and finite; raises BuildError otherwise."""
        self.require_shape(name, shape)
        tensor = self[name]
        if not np.isfinite(tensor).all():
            raise BuildError(f"{name} has values that are not finite numbers")
        return tensor

    def require_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise BuildError if a tensor is absent or of another shape."""
        if name not in self:
            raise BuildError(f"the base has no tensor {name}", context=f"it has {len(self)} tensors")
        if self.shape(name) != shape:
            raise BuildError(f"{name} has shape {self.shape(name)}, the configuration says {shape}")


class FolderCheckpoint(Checkpoint):
    """A Hugging Face folder."""

    def __init__(self, source: Path) -> None:
        """Raises BuildError if the folder has no configuration, or no safetensors weights (pickles are never read)."""
        self.configuration = read_configuration(source)
        self._source = source
        self._places: dict[str, StoredTensor] = {}
        try:
            if (source / _INDEX).is_file():
                shards = json.loads((source / _INDEX).read_text(encoding="utf-8"))["weight_map"]
                headers = {file: stored_tensors(source / Path(file).name) for file in sorted(set(shards.values()))}
                self._places = {str(name): headers[file][name] for name, file in shards.items()}
            else:
                self._places = stored_tensors(source / WEIGHTS)
        except (OSError, SafetensorError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise BuildError(
                f"the weights in {source} could not be read",
                context=str(error)[:200],
                hint=f"a model folder has {WEIGHTS}, or {_INDEX} and its shards",
            ) from error

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        place = self._places[name]
        if place.dtype not in _TYPES:
            raise BuildError(f"{name} is stored as {place.dtype}", hint=f"read are {', '.join(_TYPES)}")
        return place.read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._places[name].shape

    def write_text_files(self, out: Path) -> None:
        copy_text_files(self._source, out)
