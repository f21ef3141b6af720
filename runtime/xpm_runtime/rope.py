"""Tables of rotary position embeddings, chosen when a base is loaded: the graph takes them as inputs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import ModelLoadError


def rope_tables(
    *, head_dim: int, theta: float, num_positions: int, scaling: Mapping[str, Any] | None, dtype: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cosines and sines, each (num_positions, head_dim / 2).

    ``scaling`` is Hugging Face's ``rope_scaling``: none, ``linear``, ``dynamic`` (NTK-aware, applied to the whole table),
    ``llama3`` (NTK by parts) or ``yarn``.

    Raises:
        ModelLoadError: the scaling is of an unknown type or lacks a parameter.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    frequencies = theta**-exponents
    magnitude = 1.0
    kind = (scaling or {}).get("rope_type") or (scaling or {}).get("type") or "default"
    try:
        if kind == "linear":
            frequencies = frequencies / float(scaling["factor"])  # type: ignore[index]
        elif kind in ("dynamic", "ntk"):
            stretched = theta * float(scaling["factor"]) ** (head_dim / (head_dim - 2))  # type: ignore[index]
            frequencies = stretched**-exponents
        elif kind in ("llama3", "ntk-by-parts"):
            frequencies = _by_parts(frequencies, scaling or {})
        elif kind == "yarn":
            frequencies, magnitude = _yarn(frequencies, scaling or {}, theta, head_dim)
        elif kind != "default":
            raise ModelLoadError(f"RoPE scaling {kind!r} is not supported", hint="use linear, dynamic, llama3 or yarn")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"RoPE scaling {kind!r} lacks a valid {error}") from error
    angles = np.outer(np.arange(num_positions, dtype=np.float64), frequencies)
    return (np.cos(angles) * magnitude).astype(dtype), (np.sin(angles) * magnitude).astype(dtype)


def _by_parts(frequencies: NDArray[np.float64], scaling: Mapping[str, Any]) -> NDArray[np.float64]:
    """Long wavelengths are divided by the factor, short ones kept, those between blended."""
    factor, original = float(scaling["factor"]), float(scaling["original_max_position_embeddings"])
    low, high = float(scaling.get("low_freq_factor", 1.0)), float(scaling.get("high_freq_factor", 4.0))
    wavelengths = 2 * math.pi / frequencies
    blend = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    return frequencies * (blend + (1 - blend) / factor)


def _yarn(
    frequencies: NDArray[np.float64], scaling: Mapping[str, Any], theta: float, head_dim: int
) -> tuple[NDArray[np.float64], float]:
    """YaRN: interpolate the dimensions that turn slowly, and scale attention by 0.1·ln(factor) + 1."""
    factor, original = float(scaling["factor"]), float(scaling["original_max_position_embeddings"])

    def dimension_of(turns: float) -> float:
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension_of(float(scaling.get("beta_fast", 32)))), 0)
    high = min(math.ceil(dimension_of(float(scaling.get("beta_slow", 1)))), head_dim - 1)
    ramp = np.clip((np.arange(head_dim // 2) - low) / max(high - low, 0.001), 0.0, 1.0)
    magnitude = float(scaling.get("attention_factor") or 0.1 * math.log(factor) + 1.0)
    return frequencies / factor * ramp + frequencies * (1 - ramp), magnitude
