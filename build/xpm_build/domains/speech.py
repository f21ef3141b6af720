"""How requests are worded: sentence frames with alternatives, in several languages, with the slips that people make.

A frame is a sentence such as ``[List|Show] the {cols} of [all|the|] {table}``: square brackets hold alternatives,
braces what is asked about. Frames are kept by kind and language in ``phrases/<domain>.toml``; a frame's id is
``kind/language/number``. To hold a frame back from training is to hold back a whole family of phrasings.
"""

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from xpm_build.domains.words import COMMON_WORDS

_PHRASES = Path(__file__).with_name("phrases")
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"(?<![{\w])[^\W\d_]{4,}(?![}\w])")

ENGLISH = "en"
LEAST_FRAMES = 5
NUM_PLAIN = 2
ANY = "any"  # said alike in every language
_IN_WORDS = "words"  # the kind that is no request: what a chat model without an expert answers
_FOREIGN_SHARE = 0.12
_TYPO_SHARE = 0.05
_LOWER_SHARE = 0.12
_STRANGE_SHARE = 0.25
_SMALL_WORDS = frozenset(
    "the a an of its it is are was were be has have had that this which who whom with for to in on at by as from all "
    "any "
    "please me us we i you your their them there here do does can could would will so then also just now".split()
)
_LEAST_OWN = 3  # words that a frame must have for one of them to be replaced

Frames = dict[str, dict[str, list[str]]]


@cache
def frames_of(phrases: str | Path) -> Frames:
    """kind -> language -> frames of one domain, as a TOML file has them: the one of that name in
    ``phrases``, or another's path."""
    path = phrases if isinstance(phrases, Path) else _PHRASES / f"{phrases}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def words_of(phrases: str | Path) -> frozenset[str]:
    """The English words of four letters or more, in small ones, of a domain's frames."""
    frames = (frame for languages in frames_of(phrases).values() for frame in languages.get(ENGLISH, ()))
    return frozenset(match[0].lower() for frame in frames for match in _WORD.finditer(frame))


@cache
def strangers_of(phrases: str | Path) -> tuple[str, ...]:
    """Everyday words that no frame of a domain has."""
    return tuple(sorted(frozenset(COMMON_WORDS) - words_of(phrases)))


@dataclass(slots=True)
class Speaker:
    """Words one request: remembers which frames it used, and keeps to one language and one degree of care.

    ``frames`` holds the sentence frames used, of kinds with ``LEAST_FRAMES`` or more (what has fewer is a matter of
    words), and without the first ``NUM_PLAIN`` of a kind, which are how everybody says it: they are never held back.
    ``careless`` is "", "typo" (one slip somewhere) or "lower" (no capitals, no full stop). ``strangers`` are
    words that the domain's frames do not know: if there are any, now and then some come between a frame's words
    or take a small one's place.
    """

    phrases: str | Path
    rng: random.Random
    language: str = ENGLISH
    careless: str = ""
    strangers: Sequence[str] = ()
    frames: list[str] = field(default_factory=list)
    languages: set[str] = field(default_factory=set)

    @classmethod
    def draw(cls, phrases: str | Path, rng: random.Random, *, strangers: Sequence[str] = ()) -> "Speaker":
        foreign = rng.random() < _FOREIGN_SHARE
        languages = sorted({language for kinds in frames_of(phrases).values() for language in kinds} - {ENGLISH, ANY})
        draw = rng.random()
        careless = "typo" if draw < _TYPO_SHARE else "lower" if draw < _TYPO_SHARE + _LOWER_SHARE else ""
        language = rng.choice(languages) if foreign and languages else ENGLISH
        return cls(phrases, rng, language=language, careless=careless, strangers=strangers)

    def say(self, kind: str, /, **values: str) -> str:
        """One wording of ``kind`` with its placeholders replaced.

        A kind that has no frames in the speaker's language is said in English.
        """
        return self.fill(self.frame(kind), **values)

    @property
    def is_mixed(self) -> bool:
        """Whether a frame had to be borrowed from another language."""
        return not self.languages <= {self.language, ANY}

    def frame(self, kind: str) -> str:
        """One wording of ``kind``, its placeholders still open."""
        kinds = frames_of(self.phrases)[kind]
        language = self.language if self.language in kinds else ANY if ANY in kinds else ENGLISH
        return self.one_of(kinds[language], kind, language=language)

    def one_of(self, frames: Sequence[str], kind: str, *, language: str = ENGLISH) -> str:
        """One of some wordings of ``kind``, its placeholders still open."""
        number = self.rng.randrange(len(frames))
        self.languages.add(language)
        if len(frames) >= LEAST_FRAMES and number >= NUM_PLAIN:
            self.frames.append(f"{kind}/{language}/{number}")
        text = self._choose(frames[number])
        if self.strangers and kind != _IN_WORDS and self.rng.random() < _STRANGE_SHARE:
            text = self._estrange(text)
        if self.careless == "lower":
            text = re.sub(r"^\w", lambda match: match[0].lower(), text)
        elif self.careless == "typo" and (slipped := self._slip(text)) != text:
            self.careless = ""
            text = slipped
        return text

    def fill(self, frame: str, /, **values: str) -> str:
        return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), frame)

    def end(self, text: str) -> str:
        """Close a sentence as its writer would."""
        if self.careless == "lower":
            return text
        question = text.split(" ", 1)[0].lower() in _QUESTION_WORDS
        return text + (self.rng.choice(("?", "?", "")) if question else self.rng.choice((".", "")))

    def _choose(self, frame: str) -> str:
        while (chosen := _ALTERNATIVES.sub(lambda match: self.rng.choice(match[1].split("|")), frame)) != frame:
            frame = chosen
        return re.sub("  +", " ", frame).rstrip(" ")  # what an empty alternative leaves

    def _estrange(self, text: str) -> str:
        """A strange word or two between two words of a frame, or one in place of a small word."""
        words = text.split(" ")
        own = ["{" not in word for word in words]
        small = [number for number, word in enumerate(words) if word.lower() in _SMALL_WORDS]
        gaps = [number for number in range(1, len(words)) if own[number - 1] and own[number]]
        strange = self.rng.sample(self.strangers, 2)
        if small and sum(own) >= _LEAST_OWN and self.rng.random() < 0.5:
            at = self.rng.choice(small)
            words[at] = strange[0]
        elif gaps:
            at = self.rng.choice(gaps)
            words[at:at] = strange[: self.rng.choice((1, 1, 2))]
        return " ".join(words)

    def _slip(self, text: str) -> str:
        """Two letters swapped, one lost or one doubled, in a word of the frame itself."""
        words = list(_WORD.finditer(text))
        if not words:
            return text
        word = self.rng.choice(words)
        at = self.rng.randrange(word.start() + 1, word.end() - 1)
        slip = self.rng.choice(("swap", "lose", "double"))
        if slip == "swap":
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        return text[:at] + (text[at + 1 :] if slip == "lose" else text[at] + text[at:])


_QUESTION_WORDS = frozenset(
    "what which how who where is are can could do does qué cuál cuáles cuántos cuántas quel quels quelle quelles "
    "combien "
    "welche welcher welches wie was wer".split()
)
