"""A base as adapters see it: its slots, and its numbers where a method folds them in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.architecture import Architecture, Linear, tensor_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptable:
    """``slots`` are in graph order; ``read`` gives a tensor by its name in a Hugging Face checkpoint, as float32."""

    slots: tuple[Linear, ...]
    hidden_size: int
    read: Callable[[str], NDArray[np.float32]]

    @classmethod
    def of_configuration(cls, config: Any, read: Callable[[str], NDArray[np.float32]]) -> "Adaptable":
        """Of a base whose graph is written; raises BuildError for a configuration that is not supported."""
        architecture = Architecture(config)
        return cls(slots=tuple(architecture.linears()), hidden_size=architecture.hidden_size, read=read)

    def parameter(self, linear: Linear, part: str) -> NDArray[np.float32]:
        """A linear's weight (out, in) or bias (out,)."""
        tensor = self.read(tensor_name(linear, part))
        return tensor.T if part == "weight" and linear.is_transposed else tensor
