"""Vocabularies, split by construction: an identifier or value is met in training or in evaluation, never in both.

A word's side is decided by its SHA-256 alone, so no list has to be kept and no generator can mix the sides up.
Invented words (``tavelo``, ``brinsk``) make copying, not memory, the only way to get an identifier right.
"""

import hashlib
import random
import string
from collections.abc import Sequence
from typing import Literal

Split = Literal["train", "eval"]

_EVAL_SHARE = 5  # one word in five belongs to the evaluation

TABLES = """
user order product book movie song student teacher course employee department project task ticket invoice payment
customer supplier vendor store warehouse shipment item player team match game goal city river mountain lake airport
flight train route driver vehicle car truck bike room hotel guest booking event concert artist album track article
author comment post blog page site sensor device machine robot patient doctor nurse clinic drug recipe meal plant
animal bird horse farm field crop garden tool part engine reactor planet star comet rocket mission crew sailor ship
harbor port bridge tower building house tenant lease contract client agent broker stock trade fund loan account card
bank branch letter parcel package courier camera photo painting museum statue poem novel chapter lesson exam grade
school club member coach race runner medal award voter candidate district village garment shirt shoe lamp chair table
""".split()

NUMERIC_COLUMNS = """
age price height weight length year width depth score rating quantity amount total salary budget balance distance
duration speed volume area capacity level points rank floor mileage temperature pressure power voltage income profit
cost discount tax fee debt margin population votes goals wins seats rooms doors wheels credits hours minutes clicks
views likes shares followers revenue stake turnover humidity altitude intake output yield dosage calories sugar salt
""".split()

TEXT_COLUMNS = """
name title city country color brand category status email phone street region language genre author owner manager
model type code label gender nickname surname department role grade section topic subject format material origin
destination supplier carrier currency district climate flavor texture season weekday mood shape pattern style
manufacturer publisher director producer editor designer mentor sponsor vendor branch faculty major hobby sport
""".split()

GIVEN_NAMES = """
Anna Bruno Clara David Elena Felix Greta Hugo Irene Jonas Karin Louis Maria Nadia Oscar Paula Quentin Rosa Simon Tara
Ulrich Vera Walter Xenia Yusuf Zoe Amir Bella Carlos Dana Emil Fatima Gabriel Hanna Ivan Julia Kenji Leila Marco Nina
Omar Petra Rafael Sofia Tomas Uma Victor Wanda Ximena Yara Zoran Aisha Boris Chloe Diego Esther
""".split()

PLACES = """
Paris Oslo Lima Cairo Delhi Tokyo Berlin Madrid Porto Quito Dublin Vienna Prague Warsaw Athens Zurich Geneva Milan
Naples Lyon Bergen Tampa Austin Denver Boston Dallas Chicago Toronto Havana Bogota Santiago Lagos Nairobi Accra Dakar
Tunis Rabat Beirut Amman Doha Tehran Kabul Karachi Mumbai Hanoi Seoul Osaka Kyoto Perth Sydney Auckland
""".split()

PLAIN_VALUES = """
red blue green black white yellow silver gold active closed open pending done urgent small large medium wood steel
glass paper cotton jazz rock opera drama comedy horror fiction history science spring summer winter autumn north south
east west daily weekly monthly gas diesel electric new used rare common light dark fresh frozen sweet sour
""".split()

# Words the demonstration and its comparative adjectives (older, cheaper, ...) need are always on the training side.
_TRAIN_ONLY = frozenset(
    "user order product name age price height weight length year city id title salary email country".split()
)

_ONSETS = "b br c cl d dr f fl g gr h j k kr l m n p pl qu r s sk st t tr v w z th sh ch".split()
_VOWELS = "a e i o u a e i o ai ea oo ou".split()
_CODAS = "n r l m t k d p nd rt lk mp nt rm".split() + [""] * 10


def side_of(text: str) -> Split:
    """Tell on which side of the split ``text`` (a word, or a whole phrasing) stands."""
    if text.lower() in _TRAIN_ONLY:
        return "train"
    return "eval" if hashlib.sha256(text.lower().encode()).digest()[0] % _EVAL_SHARE == 0 else "train"


class Vocabulary:
    """Draws words of one side of the split.

    ``odd`` is the share of invented words that are put together from letters and fragments instead of syllables, and
    ``pieces`` (a tokenizer's alphabetic tokens) are what the fragments are if there are any: with them a model meets every
    token of its vocabulary where it has to copy it.

    Invariant: every word returned by a method satisfies ``side_of(word) == split``, except the primary key ``id``.
    """

    def __init__(self, split: Split, rng: random.Random, *, odd: float = 0.0, pieces: Sequence[str] = ()) -> None:
        self.split = split
        self.rng = rng
        self.odd = odd
        self._pieces = pieces
        self._tables = self._mine(TABLES)
        self._numeric = self._mine(NUMERIC_COLUMNS)
        self._text = self._mine(TEXT_COLUMNS)
        self._values = self._mine(GIVEN_NAMES + PLACES + PLAIN_VALUES)

    def _mine(self, words: list[str]) -> list[str]:
        return [word for word in words if side_of(word) == self.split]

    def invented(self) -> str:
        """An invented lower-case word of two or three syllables."""
        while True:
            word = self._odd_word() if self.odd and self.rng.random() < self.odd else self._syllables()
            if side_of(word) == self.split and not word.endswith("s"):
                return word

    def _syllables(self) -> str:
        count = self.rng.choice((2, 2, 3))
        word = "".join(self.rng.choice(_ONSETS) + self.rng.choice(_VOWELS) for _ in range(count))
        return word + self.rng.choice(_CODAS)

    def _odd_word(self) -> str:
        """Letters at random, or fragments of listed words put together."""
        if self.rng.random() < 0.4:
            return "".join(self.rng.choice(string.ascii_lowercase) for _ in range(self.rng.randint(3, 8)))
        return "".join(self._fragment() for _ in range(self.rng.randint(1, 3)))

    def _fragment(self) -> str:
        if self._pieces:
            return self.rng.choice(self._pieces).lower()
        word = self.rng.choice(self.rng.choice((self._tables, self._numeric, self._text, self._values))).lower()
        start = self.rng.randrange(len(word) - 1)
        return word[start : start + self.rng.randint(2, 6)]

    def table(self) -> str:
        """A singular entity noun."""
        return self.rng.choice(self._tables) if self.rng.random() < 0.5 else self.invented()

    def numeric_column(self) -> str:
        return self._identifier(self._numeric)

    def text_column(self) -> str:
        return self._identifier(self._text)

    def _identifier(self, listed: list[str]) -> str:
        draw = self.rng.random()
        if draw < 0.5:
            return self.rng.choice(listed)
        if draw < 0.8:
            return self.invented()
        first = self.rng.choice(listed) if self.rng.random() < 0.5 else self.invented()
        return f"{first}_{self.rng.choice(listed) if self.rng.random() < 0.5 else self.invented()}"

    def value(self) -> str:
        """A text value of one word, sometimes two."""
        word = self._value_word()
        return f"{word} {self._value_word()}" if self.rng.random() < 0.15 else word

    def _value_word(self) -> str:
        if self._pieces and self.rng.random() < self.odd:
            while True:  # capitals stay where the tokens have them
                word = "".join(self.rng.choice(self._pieces) for _ in range(self.rng.randint(1, 3)))
                if side_of(word) == self.split:
                    return word
        if self.rng.random() < 0.45:
            return self.rng.choice(self._values)
        word = self.invented()
        return word.capitalize() if self.rng.random() < 0.6 else word

    def integer(self) -> int:
        """A non-negative whole number, small ones more often."""
        return self.rng.randrange(10 ** self.rng.choice((1, 2, 2, 3, 4)))
