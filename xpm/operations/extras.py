"""What is not installed with xpm itself, and how it is asked for."""

from collections.abc import Sequence
from importlib.util import find_spec

from xpm.errors import MissingExtraError


def require_extra(
    names: Sequence[str] = ("torch", "transformers", "peft", "onnx", "trl", "datasets"),
    *,
    what: str = "building packages",
    extra: str = "build",
) -> None:
    """Raise MissingExtraError if one of these modules is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs the {extra} extra",
            context=f"not installed: {', '.join(missing)}",
            hint=f"pip install 'xpm-experts[{extra}]'",
        )
