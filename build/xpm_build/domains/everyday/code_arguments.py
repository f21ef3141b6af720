"""Arguments of calls: numbers, words, sentences and lists of them as everyday functions take them, edges included."""

import random
from functools import cache
from types import CodeType
from typing import Any

_WORDS = (
    "apple banana cherry lemon melon orange bread butter table window garden river mountain school music summer winter "
    "dragon castle forest ocean planet rocket guitar violin pencil paper yellow purple silver level radar noon civic "
    "kayak hello world Anna Otto Paris London cat dog bird fish tree house moon star rain snow fire ice a to be or not "
    "the and of it is"
).split()
_SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "Never odd or even",
    "hello world",
    "Good morning, Vienna!",
    "one two three two one",
    "it was the best of times",
    "A man walks into a bar.",
    "see you later alligator",
    "To be or not to be",
    "rain rain go away",
    "Hello, my name is Ada.",
    "We meet at 10 in room 42",
    "Step on no pets",
    "abc",
    "",
    "I have 3 cats and 12 dogs",
    "what a wonderful world",
    "red green blue green",
    "WOW that is BIG",
)


class Drawer:
    """Evaluates the expressions that tasks draw their arguments with; each call is drawn anew from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._names: dict[str, Any] = {
            "r": rng,
            "num": rng.randint,
            "pick": lambda *values: rng.choice(values),
            "word": self.word,
            "lower": lambda: self.word().lower(),
            "sentence": self.sentence,
            "ints": self.ints,
            "words": self.words,
            "lowers": lambda *bounds: [each.lower() for each in self.words(*bounds)],
            "flags": lambda least=0, most=6: [rng.random() < 0.5 for _ in range(rng.randint(least, most))],
            "distinct": self.distinct,
            "counts": self.counts,
            "matrix": self.matrix,
            "square": self.square,
            "digits": lambda count: "".join(rng.choice("0123456789") for _ in range(count)),
            "letters": lambda least=1, most=8, of="abcdefghij": "".join(
                rng.choice(of) for _ in range(rng.randint(least, most))
            ),
            "day": self.day,
            "clock": lambda: f"{rng.randint(0, 23):02}:{rng.choice((0, 5, 15, 30, 45, rng.randint(0, 59))):02}",
            "maybe": lambda value, other: value if rng.random() < 0.5 else other,
        }

    def draw(self, expression: str) -> list[Any]:
        """The arguments of one call."""
        return list(eval(_compiled(expression), self._names))

    def word(self) -> str:
        return self.rng.choice(_WORDS)

    def sentence(self) -> str:
        rng = self.rng
        if rng.random() < 0.6:
            return rng.choice(_SENTENCES)
        return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 6)))

    def ints(self, least: int = 0, most: int = 7, low: int = -9, high: int = 20) -> list[int]:
        rng = self.rng
        count = least if rng.random() < 0.15 else rng.randint(least, most)
        return [rng.randint(low, high) for _ in range(count)]

    def distinct(self, least: int, most: int, low: int = -9, high: int = 30) -> list[int]:
        return self.rng.sample(range(low, high + 1), self.rng.randint(least, most))

    def words(self, least: int = 0, most: int = 6) -> list[str]:
        rng = self.rng
        count = least if rng.random() < 0.15 else rng.randint(least, most)
        few = rng.sample(_WORDS, 4)
        return [rng.choice(few if rng.random() < 0.5 else _WORDS) for _ in range(count)]

    def counts(self, least: int = 0, most: int = 4, low: int = 0, high: int = 12) -> dict[str, int]:
        rng = self.rng
        names = rng.sample(_WORDS, rng.randint(least, most))
        return {name: rng.randint(low, high) for name in names}

    def matrix(self, least: int = 1, most: int = 3, low: int = -5, high: int = 9) -> list[list[int]]:
        rng = self.rng
        columns = rng.randint(1, 3)
        return [[rng.randint(low, high) for _ in range(columns)] for _ in range(rng.randint(least, most))]

    def square(self, most: int = 3) -> list[list[int]]:
        size = self.rng.randint(1, most)
        return [[self.rng.randint(-5, 9) for _ in range(size)] for _ in range(size)]

    def day(self) -> str:
        rng = self.rng
        return f"{rng.randint(1999, 2028)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


@cache
def _compiled(expression: str) -> CodeType:
    return compile(f"[{expression}]", "arguments", "eval")
