"""Everyday requests for JSON: a text and what is wanted of it, broken JSON, changes of JSON, other notations, schemas.

Answers are JSON with Python's own separators, but where another layout is asked for. ``check`` is empty: an answer is
right if it parses to the wanted value, types included.
"""

from collections.abc import Callable
from pathlib import Path

from xpm_build.domains.case import Draft
from xpm_build.domains.everyday.json_change import change_object
from xpm_build.domains.everyday.json_extract import (
    Made,
    by_example,
    dump,
    extract,
    find_all,
    name_to_number,
    quantities,
    receipt,
    several,
    shape,
)
from xpm_build.domains.everyday.json_list import change_list
from xpm_build.domains.everyday.json_more import change_more
from xpm_build.domains.everyday.json_notations import notation, table
from xpm_build.domains.everyday.json_repair import comments, cut_off, layout, repair, schema, valid
from xpm_build.domains.everyday.json_write import write_json
from xpm_build.domains.everyday.manner import mannered
from xpm_build.domains.speech import ENGLISH, Speaker
from xpm_build.domains.words import Vocabulary

PHRASES = Path(__file__).with_name("json.toml")
_FAMILIES: dict[str, tuple[int, Callable[[Vocabulary, Speaker], Made]]] = {
    "extract": (20, extract),
    "shape": (13, shape),
    "example": (2, by_example),
    "several": (5, several),
    "map": (3, name_to_number),
    "receipt": (2, receipt),
    "quantities": (2, quantities),
    "find": (3, find_all),
    "notation": (8, notation),
    "table": (6, table),
    "repair": (10, repair),
    "cut-off": (2, cut_off),
    "comments": (2, comments),
    "valid": (2, valid),
    "change": (13, change_object),
    "list": (12, change_list),
    "more": (9, change_more),
    "write": (8, write_json),
    "schema": (3, schema),
}
_LAYOUT_SHARE = 0.02
_FOREIGN = (
    "extract",
    "extract",
    "extract",
    "extract",
    "shape",
    "shape",
    "notation",
    "table",
    "repair",
    "change",
    "write",
)


def make_everyday_json(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one request."""
    rng = words.rng
    in_words = speaker.say("words", keys="JSON")
    if speaker.language == ENGLISH and rng.random() < _LAYOUT_SHARE:
        prompt, _, written = layout(words, speaker)
        return mannered(prompt, speaker), written, "layout", {}, in_words
    families, weights = list(_FAMILIES), [weight for weight, _ in _FAMILIES.values()]
    family = rng.choices(families, weights=weights)[0] if speaker.language == ENGLISH else rng.choice(_FOREIGN)
    prompt, found = _FAMILIES[family][1](words, speaker)
    return mannered(prompt, speaker), dump(found), family, {}, in_words
