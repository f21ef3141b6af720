"""What manifests say of decoding, as the runtime's sampling parameters."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xpm.errors import UsageError
from xpm_index.manifest import Manifest

if TYPE_CHECKING:
    from xpm_runtime import SamplingParams

DEFAULT_MAX_TOKENS = 256
_BYTES_PER_TOKEN = 4  # of a prompt, before there is a tokenizer


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


# the manifest's key → the parameter, what its value must be, and that in words
_KEYS: Mapping[str, tuple[str, Callable[[Any], bool], str]] = {
    "temperature": ("temperature", _is_number, "a number"),
    "top_k": ("top_k", _is_whole, "a whole number"),
    "top_p": ("top_p", _is_number, "a number"),
    "min_p": ("min_p", _is_number, "a number"),
    "repetition_penalty": ("repetition_penalty", _is_number, "a number"),
    "max_new_tokens": ("max_tokens", _is_whole, "a whole number"),
    "max_tokens": ("max_tokens", _is_whole, "a whole number"),
    "stop_sequences": ("stop", _is_text, "a text or several"),
}


def sampling_defaults(manifests: Sequence[Manifest], *, given: Collection[str] = ()) -> dict[str, Any]:
    """What a composition's manifests say of decoding; the expert that acts last has the last word.

    Args:
        manifests: in the order in which their experts act.
        given: the parameters that the user sets, which are not looked at.
    Raises:
        UsageError: a value is of the wrong kind; says whose, and how to go without it.
    """
    settings: dict[str, Any] = {"max_tokens": DEFAULT_MAX_TOKENS}
    for manifest in manifests:
        for key, (parameter, fits, wanted) in _KEYS.items():
            value = manifest.decoding.get(key)
            if value is None or parameter in given or (parameter == "stop" and not value):
                continue
            if not fits(value):
                raise UsageError(
                    f"{manifest.name} {manifest.version} states a {key} that is not {wanted}",
                    context=f"it is {str(value)[:80]!r}",
                    hint=f"tell its publisher; until then give --{parameter.replace('_', '-')} yourself",
                )
            settings[parameter] = _texts(value) if parameter == "stop" else value
    return settings


def task_defaults(task: str, prompt: str) -> dict[str, Any]:
    """How a prompt of a kind of task is decoded where no expert says otherwise (``xpm_runtime.router.decoding``)."""
    from xpm_runtime.router.decoding import DECODING, DEFAULT_TASK

    found = DECODING.get(task, DECODING[DEFAULT_TASK])
    return {
        "temperature": found.temperature,
        "top_p": found.top_p,
        "repetition_penalty": found.repetition_penalty,
        "max_tokens": found.max_tokens_for(len(prompt.encode(errors="replace")) // _BYTES_PER_TOKEN),
    }


def sampling_settings(
    manifests: Sequence[Manifest], given: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the user gives, else what the manifests say, else ``defaults``, by the names of the runtime's parameters.

    The defaults are left out where a manifest states a temperature: what it states was judged with nothing else added.

    Raises:
        UsageError: a manifest's value is not valid.
    """
    stated = sampling_defaults(manifests, given=given)
    below = {} if any("temperature" in each.decoding for each in manifests) else defaults or {}
    if below and not any(each.decoding.keys() & {"max_tokens", "max_new_tokens"} for each in manifests):
        stated.pop("max_tokens", None)
    return {**below, **stated, **given}


def sampling_params(
    manifests: Sequence[Manifest], given: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> "SamplingParams":
    """``sampling_settings`` as the runtime's parameters; raises UsageError if a value is not valid."""
    from xpm_runtime import SamplingParams

    settings = sampling_settings(manifests, given, defaults=defaults)
    try:
        return SamplingParams(**settings)
    except TypeError as error:
        raise UsageError(f"the sampling settings are not valid: {error}") from error


def _texts(value: str | list[str]) -> tuple[str, ...]:
    """One text is one stop sequence, not its characters; empty ones stop nothing."""
    return tuple(each for each in ([value] if isinstance(value, str) else value) if each)
