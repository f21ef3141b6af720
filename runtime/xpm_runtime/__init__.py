"""Runs bases and adapters: slots, KV lanes, continuous batching, sampling, chat.

Imports none of the project's other packages and knows no Git, archives, keys or versions. Importing it is cheap: numpy
and onnxruntime are loaded when an ``Engine`` is first asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpm_runtime.adapter import AdapterSpec
    from xpm_runtime.cache_settings import CacheSettings
    from xpm_runtime.conversation import EngineSession
    from xpm_runtime.engine import AttachReport, Engine
    from xpm_runtime.errors import (
        AdapterMismatchError,
        CapacityError,
        ConstraintError,
        EngineError,
        ModelLoadError,
        RequestError,
    )
    from xpm_runtime.grammar import Grammar
    from xpm_runtime.logprobs import TokenReport
    from xpm_runtime.memory import MemoryReport
    from xpm_runtime.rope_scaling import RopeScaling
    from xpm_runtime.sampler import SamplingParams
    from xpm_runtime.sequence import GenerationResult, Request, Sequence
    from xpm_runtime.stepper import StepReport
    from xpm_runtime.text import Message

_HOMES = {
    "AdapterSpec": "adapter",
    "AttachReport": "engine",
    "CacheSettings": "cache_settings",
    "Engine": "engine",
    "EngineSession": "conversation",
    "MemoryReport": "memory",
    "StepReport": "stepper",
    "AdapterMismatchError": "errors",
    "CapacityError": "errors",
    "ConstraintError": "errors",
    "EngineError": "errors",
    "ModelLoadError": "errors",
    "RequestError": "errors",
    "Grammar": "grammar",
    "RopeScaling": "rope_scaling",
    "SamplingParams": "sampler",
    "GenerationResult": "sequence",
    "Request": "sequence",
    "Sequence": "sequence",
    "Message": "text",
    "TokenReport": "logprobs",
}

__all__ = [
    "AdapterMismatchError",
    "AdapterSpec",
    "AttachReport",
    "CacheSettings",
    "CapacityError",
    "ConstraintError",
    "Engine",
    "EngineError",
    "EngineSession",
    "GenerationResult",
    "Grammar",
    "MemoryReport",
    "Message",
    "ModelLoadError",
    "Request",
    "RequestError",
    "RopeScaling",
    "SamplingParams",
    "Sequence",
    "StepReport",
    "TokenReport",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
