"""What language a short text is in, by py3langid (the extra ``router``): only hints that name a language need it."""

from collections.abc import Callable
from functools import cache

_LEAST_CHARACTERS = 12


def language_detector() -> Callable[[str], str] | None:
    """From a text to its ISO 639-1 code, "" if it is too short to tell; None where the extra is not installed."""
    try:
        import py3langid  # noqa: F401
    except ImportError:
        return None
    return _language_of


def _language_of(text: str) -> str:
    return "" if len(text.strip()) < _LEAST_CHARACTERS else str(_identifier()(text[:500])[0])


@cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    from py3langid.langid import classify

    result: Callable[[str], tuple[str, float]] = classify
    return result
