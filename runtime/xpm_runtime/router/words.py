"""Prompts as words: Unicode, folded, the same for cards, heads and prompts."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

MAX_CHARACTERS = 6000  # of a prompt that are read: its beginning and its end
_END = 1500
_CJK = "぀-ヿ㐀-鿿가-힯豈-﫿"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])+[+#]{{0,2}}")
_IS_CJK = re.compile(f"[{_CJK}]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def bounded(text: str) -> str:
    """The text, or of a long one its beginning and its end: that is where people say what they want."""
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[: MAX_CHARACTERS - _END]}\n{text[-_END:]}"


def folded(text: str) -> str:
    """Without differences of case, width and ligatures."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold()


def words_of(text: str) -> list[str]:
    """The words of a folded text in order; each character of Chinese, Japanese and Korean is
    one, ``c++`` and ``c#`` are."""
    return _WORD.findall(text)


def without_marks(text: str) -> str:
    """A folded text without accents."""
    if text.isascii():
        return text
    return "".join(each for each in unicodedata.normalize("NFD", text) if not unicodedata.combining(each))


def is_cjk(text: str) -> bool:
    return _IS_CJK.match(text) is not None


def occurs(keyword: str, text: str) -> bool:
    """Whether a keyword stands in a folded text by itself: one word, several, or one with
    signs (``c++``, ``node.js``)."""
    pattern = _pattern(keyword)
    return pattern is not None and pattern.search(text) is not None


def first_word(keyword: str) -> str:
    """The word by which a keyword is looked up; "" if it has none."""
    found = words_of(folded(keyword))
    return found[0].rstrip("+#") if found else ""


@lru_cache(maxsize=65536)
def _pattern(keyword: str) -> re.Pattern[str] | None:
    parts = folded(keyword).split()
    if not parts:
        return None
    middle = r"\s+".join(map(re.escape, parts))
    if _IS_CJK.search(keyword):  # no spaces between words there
        return re.compile(middle)
    ends_in_a_word = parts[-1][-1].isalnum() or parts[-1][-1] == "_"
    after = r"(?!\w)(?![-']\w)" if ends_in_a_word else ""
    return re.compile(r"(?<!\w)(?<!\w[-'])" + middle + after)


def stems(words: Sequence[str]) -> list[str]:
    """Words without the endings that plural and tense put on them: crude, and the same for cards and prompts."""
    return [_stem(each) for each in words]


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ers", "es", "ed", "er", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
