"""What is asserted of sentence frames in several domains."""

import re
from pathlib import Path

from xpm_build.dataset.hold_out import HoldOut
from xpm_build.domains.speech import LEAST_FRAMES, NUM_PLAIN, frames_of


def sentences(frame: str) -> set[str]:
    """Every sentence that a frame stands for."""
    alternatives = re.search(r"\[([^\[\]]*)\]", frame)
    if not alternatives:
        return {re.sub("  +", " ", frame).strip(" .?").lower()}
    before, after = frame[: alternatives.start()], frame[alternatives.end() :]
    return {text for word in alternatives[1].split("|") for text in sentences(before + word + after)}


def assert_sound(phrases: str | Path, hold_out: HoldOut) -> None:
    """Every kind is there in a language that stands for all, its brackets are closed, and most of it is trained on."""
    for kind, languages in frames_of(phrases).items():
        assert "en" in languages or "any" in languages, kind
        for language, frames in languages.items():
            assert frames, (kind, language)
            for frame in frames:
                assert frame.count("[") == frame.count("]"), frame
                assert frame.count("{") == frame.count("}"), frame
            if len(frames) >= LEAST_FRAMES:
                ids = (f"{kind}/{language}/{number}" for number in range(NUM_PLAIN, len(frames)))
                assert sum(hold_out.holds("phrasing", each) for each in ids) <= 0.6 * len(frames), kind
