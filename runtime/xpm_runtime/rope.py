"""Tables of rotary position embeddings: the graph takes them as inputs, so they may differ from request to request."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import ModelLoadError

ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")
_ASKED_TYPES = (*ROPE_TYPES, "ntk")  # what a request may ask for, too


def rope_tables(
    *,
    head_dim: int,
    theta: float,
    num_positions: int,
    scaling: Mapping[str, Any] | None,
    dtype: str,
    is_asked: bool = False,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cosines and sines, each (num_positions, head_dim / 2), of positions that the base was made for.

    ``scaling`` is Hugging Face's ``rope_scaling``: none, ``linear``, ``dynamic`` (which changes nothing up to the
    positions that the base was made for), ``llama3`` (NTK by parts) or ``yarn``; if a request asked for it
    (``is_asked``), ``ntk`` too.

    Raises:
        ModelLoadError: the scaling is of an unknown type, lacks a parameter, or has one that makes no sense.
    """
    frequencies, magnitude = rope_frequencies(head_dim=head_dim, theta=theta, scaling=scaling, is_asked=is_asked)
    angles = np.outer(np.arange(num_positions, dtype=np.float64), frequencies)
    return (np.cos(angles) * magnitude).astype(dtype), (np.sin(angles) * magnitude).astype(dtype)


def rope_frequencies(
    *, head_dim: int, theta: float, scaling: Mapping[str, Any] | None, is_asked: bool = False
) -> tuple[NDArray[np.float64], float]:
    """Radians per position (head_dim / 2,), and what cosines and sines are multiplied by;
    raises as ``rope_tables`` does."""
    if head_dim < 2 or head_dim % 2:
        raise ModelLoadError(f"heads of {head_dim} dimensions can't be rotated", context="dimensions turn in pairs")
    scaling = scaling or {}
    kind = rope_type(scaling)
    if kind not in (_ASKED_TYPES if is_asked else ROPE_TYPES):
        raise ModelLoadError(f"RoPE scaling {kind!r} is not supported", hint=f"supported: {', '.join(ROPE_TYPES)}")
    magnitude = 1.0
    try:
        with np.errstate(all="ignore"):  # what comes of it is looked at below
            frequencies = float(theta) ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
            if kind == "ntk":
                stretched = theta * float(scaling["factor"]) ** (head_dim / max(head_dim - 2, 1))
                frequencies = stretched ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
            elif kind == "linear":
                frequencies = frequencies / float(scaling["factor"])
            elif kind == "llama3":
                frequencies = _by_parts(frequencies, scaling)
            elif kind == "yarn":
                frequencies, magnitude = _yarn(frequencies, scaling, theta, head_dim)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelLoadError(f"RoPE scaling {kind!r} lacks a valid {error}") from error
    if not (np.isfinite(frequencies).all() and (frequencies > 0).all() and math.isfinite(magnitude)):
        raise ModelLoadError(
            f"RoPE scaling {kind!r} makes no frequencies", context=f"theta {theta}, {dict(scaling)}"[:200]
        )
    return frequencies, magnitude


def rope_type(scaling: Mapping[str, Any]) -> str:
    """The type by its present name, or by its older one."""
    return str(scaling.get("rope_type") or scaling.get("type") or "default")


def _by_parts(frequencies: NDArray[np.float64], scaling: Mapping[str, Any]) -> NDArray[np.float64]:
    """Long wavelengths are divided by the factor, short ones kept, those between blended."""
    factor, original = float(scaling["factor"]), float(scaling["original_max_position_embeddings"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    wavelengths = 2 * math.pi / frequencies
    blend = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    return frequencies * (blend + (1 - blend) / factor)


def _yarn(
    frequencies: NDArray[np.float64], scaling: Mapping[str, Any], theta: float, head_dim: int
) -> tuple[NDArray[np.float64], float]:
    """YaRN: interpolate the dimensions that turn slowly, and scale attention."""
    factor, original = float(scaling["factor"]), float(scaling["original_max_position_embeddings"])

    def dimension_of(turns: float) -> float:
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension_of(float(scaling.get("beta_fast") or 32)), dimension_of(float(scaling.get("beta_slow") or 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    ramp = np.clip((np.arange(head_dim // 2) - low) / (high - low if high != low else 0.001), 0.0, 1.0)
    return frequencies / factor * ramp + frequencies * (1 - ramp), _attention_factor(factor, scaling)


def _attention_factor(factor: float, scaling: Mapping[str, Any]) -> float:
    """What is stated, or 0.1·ln(factor) + 1, of the two given weights one over the other."""
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return magnitude(float(scaling["mscale"])) / magnitude(float(scaling["mscale_all_dim"]))
    return magnitude(1.0)
