"""Models by their Hugging Face id, fetched into Hugging Face's own cache: what is there
already is not fetched again."""

import re
from pathlib import Path

from xpm_build.errors import BuildError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a base is made of; never pickles or code.
WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "*.safetensors",
    "*.safetensors.index.json",
)


def is_model_id(text: str) -> bool:
    """Whether ``text`` has the form of an id, ``owner/name``."""
    return _ID.fullmatch(text) is not None


def fetch_model(model_id: str) -> Path:
    """The folder of a model's files, its safetensors among them; interrupted downloads are resumed.

    Raises:
        BuildError: there is no such model, it may not be read, or the network fails.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, allow_patterns=list(WANTED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BuildError(
            f"the model {model_id} could not be fetched",
            context=str(error).strip().split("\n")[0][:200],
            hint="check the id and the network; a model that asks for it needs a login (`hf auth login`)",
        ) from error
