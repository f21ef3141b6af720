"""What tables and columns are called in other languages: ``translations.toml``; what is not in it keeps its name."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_PATH = Path(__file__).with_name("translations.toml")


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    """Language -> English word -> its translation."""
    languages, words = (tomllib.loads(_PATH.read_text(encoding="utf-8"))[key] for key in ("languages", "words"))
    return {
        language: {word: each[number] for word, each in words.items() if each[number]}
        for number, language in enumerate(languages)
    }


def translated(word: str, language: str) -> str:
    """``word`` in another language, "" if it is not known."""
    return _words().get(language, {}).get(word, "")
