"""What the real model and llama.cpp are given: texts to cut into tokens, prompts to answer, easy
questions with their answers."""

import random

from xpm_build.base.quantizers import TEXTS

_NUM_TEXTS = 1_000

PROMPTS = (
    "What is the capital of Italy?",
    "Name three colours.",
    "What do bees make?",
    "Write one sentence about the sea.",
    "What is water made of?",
    "How many legs does a spider have?",
    "Translate 'good morning' into French.",
    "What is 7 + 5?",
    "Who wrote Romeo and Juliet?",
    "What is the largest planet?",
    "Give me a synonym of happy.",
    "What is a poem?",
    "Name a fruit that is yellow.",
    "What is the opposite of up?",
    "Why do leaves fall in autumn?",
    "What is a verb?",
    "What is the boiling point of water?",
    "Name a musical instrument.",
    "What comes after Tuesday?",
    "What is snow?",
)
QUESTIONS = (
    ("What is the capital of Greece?", "Athens"),
    ("What is the opposite of wet?", "dry"),
    ("What is the capital of Thailand?", "Bangkok"),
    ("What is the capital of Russia?", "Moscow"),
    ("What is the opposite of day?", "night"),
    ("What is the opposite of up?", "down"),
    ("What is the opposite of black?", "white"),
    ("What is the opposite of strong?", "weak"),
    ("What is the capital of Norway?", "Oslo"),
    ("What is the capital of Chile?", "Santiago"),
    ("What is the capital of Egypt?", "Cairo"),
    ("What is the capital of Hungary?", "Budapest"),
    ("What is the opposite of happy?", "sad"),
    ("What is the capital of China?", "Beijing"),
    ("What is the capital of Sweden?", "Stockholm"),
    ("What is the capital of Kenya?", "Nairobi"),
    ("What is the opposite of fast?", "slow"),
    ("What is the opposite of left?", "right"),
    ("What is the capital of Ireland?", "Dublin"),
    ("What is the opposite of open?", "close"),
    ("What is the capital of Canada?", "Ottawa"),
    ("What is the capital of Cuba?", "Havana"),
    ("What is the capital of Austria?", "Vienna"),
    ("What is 1 + 2?", "3"),
    ("What is 10 + 10?", "20"),
    ("What is the capital of Poland?", "Warsaw"),
    ("What is 1 + 1?", "2"),
    ("What is the opposite of hot?", "cold"),
    ("In which country is Tokyo?", "Japan"),
    ("What is the capital of Peru?", "Lima"),
    ("How many seconds are in a minute?", "60"),
    ("What language is spoken in France?", "French"),
    ("How many days are in a week?", "7|seven"),
    ("What is 2 + 3?", "5"),
    ("What is the capital of Germany?", "Berlin"),
    ("What language is spoken in Japan?", "Japanese"),
    ("On which continent is Germany?", "Europe"),
    ("What is the capital of Iran?", "Tehran"),
    ("What is the capital of Iraq?", "Baghdad"),
    ("What language is spoken in Germany?", "German"),
)
"""Easy ones, whose answers do not hang on a near-tie: where two tokens are almost alike, rounding decides."""
_ODD = (
    "héllo wörld",
    "naïve café e\u0301",
    "Привет, мир 123",
    "日本語のテキスト、漢字",
    "한국어 텍스트",
    "العربية ١٢٣",
    "हिन्दी १२३",
    "👍🏽👩‍👩‍👧‍👦🎉",
    "½ ² ① Ⅷ 𝟙",
    "\u00a0\u2003\u3000x",
    "tab\t\ttab",
    "\r\n\r\n  x",
    "   leading",
    "trailing   ",
    "\u200b\ufeff",
    "a\x00b\x7f",
    "I'm you're WE'LL 's",
    "1234567890",
    "3.14159e-10",
    "$100,000.00",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "<repo_name>a<file_sep>b",
    "<|im_start|",
    "𠀀 ǅ ſ K ﬁ",
    "def f(x): return {x: [1, 2]}  # a|b <= c^d~`",
)


def sample_texts() -> list[str]:
    """Pieces of the project's texts, odd strings joined, and random characters: the same ones always."""
    rng = random.Random(0)
    prose = [path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.txt"))]
    texts = []
    for number in range(_NUM_TEXTS):
        if number % 3 == 0:
            text = rng.choice(prose)
            first = rng.randrange(len(text))
            texts.append(text[first : first + rng.randrange(1, 200)] or text[:9])
        elif number % 3 == 1:
            texts.append(rng.choice(["", " ", "\n"]).join(rng.choices(_ODD, k=rng.randrange(1, 5))))
        else:
            ranges = ((32, 127), (0xA0, 0x3000), (0x4E00, 0x9FFF), (0x1F300, 0x1F9FF), (9, 11))
            texts.append("".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 40))))
    return texts
