"""A base's configuration, as config.json states it: what is absent has the value that Transformers gives it."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xpm_build.errors import BuildError

CONFIG = "config.json"
_DEFAULTS: dict[str, Any] = {
    "attention_bias": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "head_dim": None,
    "hidden_act": "silu",
    "intermediate_size": 22016,
    "max_position_embeddings": 32768,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": None,
    "hidden_size": 4096,
    "pad_token_id": None,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_OF_TYPE: dict[str, dict[str, Any]] = {
    "llama": {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "vocab_size": 32000,
    },
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
}


class Configuration(SimpleNamespace):
    """Its keys as attributes."""

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> "Configuration":
        """With defaults for what is not stated."""
        values = _DEFAULTS | _OF_TYPE.get(str(stated.get("model_type")), {}) | dict(stated)
        if values["num_key_value_heads"] is None:
            values["num_key_value_heads"] = values["num_attention_heads"]
        return cls(**values)


def read_configuration(folder: Path) -> Configuration:
    """The configuration of a model folder; raises BuildError if there is none, or it can't be read."""
    path = folder / CONFIG
    if not path.is_file():
        raise BuildError(
            f"{folder} is not a model folder",
            context=f"it has no {CONFIG}",
            hint="name a Hugging Face model's folder, or a GGUF file",
        )
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stated, dict):
            raise ValueError("it does not hold an object")
        return Configuration.of(stated)
    except (OSError, ValueError, RecursionError) as error:
        raise BuildError(f"{path} could not be read", context=str(error)[:300]) from error
