"""The slots of a loaded Hugging Face model, whichever exporter makes its graph: adapters and
graphs agree on them by this."""

import re
from collections import defaultdict
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from xpm_build.base.adaptable import Adaptable
from xpm_build.base.architecture import Architecture, Linear, obstacle_to_writing
from xpm_build.errors import BuildError

_IN_LAYER = re.compile(r"(?:[^.]+\.)*?(\d+)\.(.+)")


def adaptable(model: Any) -> Adaptable:
    """A loaded model as adapters see it."""

    def read(name: str) -> Any:
        return model.get_parameter(name).detach().float().numpy()

    return Adaptable(slots=slots_of(model), hidden_size=model.config.hidden_size, read=read)


def slots_of(model: Any) -> tuple[Linear, ...]:
    """All slots in graph order; the columns of ``scales`` are their outputs in this order.

    A model whose graph is written has those of its architecture. Another has one at each linear of its numbered
    layers, named ``{layer}.{path within the layer}``, and before a layer's last one, where a feed-forward part
    ends, one for what goes in.
    """
    if not obstacle_to_writing(model.config):
        return tuple(Architecture(model.config).linears())
    layers: dict[int, list[Linear]] = defaultdict(list)
    for path, module in model.named_modules():
        place = _IN_LAYER.fullmatch(path)
        if place and isinstance(module, torch.nn.Linear | Conv1D):
            layers[int(place[1])].append(_linear(path, f"{int(place[1])}.{place[2]}", module))
    if not layers:
        raise BuildError(f"a model of type {model.config.model_type!r} has no linears in numbered layers")
    return tuple(slot for _, linears in sorted(layers.items()) for slot in (*linears[:-1], *_with_input(linears[-1])))


def _linear(path: str, name: str, module: Any) -> Linear:
    is_transposed = isinstance(module, Conv1D)
    num_out, num_in = reversed(module.weight.shape) if is_transposed else module.weight.shape
    return Linear(
        name=name,
        num_in=num_in,
        num_out=num_out,
        path=path,
        has_bias=module.bias is not None,
        is_transposed=is_transposed,
    )


def _with_input(linear: Linear) -> tuple[Linear, Linear]:
    name, size = f"{linear.name}.input", linear.num_in
    return Linear(name=name, num_in=size, num_out=size, path=linear.path, is_input=True), linear
