"""How well a text is foretold, by how much of it came before: the same tokens behind contexts of different lengths.

So nothing but the length differs: were each length judged on its own windows, one would compare texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpm_build.errors import UsageError
from xpm_runtime.text import TextCodec

PROBED = 256  # tokens at the end of a window whose loss is compared
TOLERATED = 0.05
_TELLING = 100  # characters of a paragraph that is not the same by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tokens of a text; windows of one ``number`` end at the same token, whatever their length."""

    number: int
    ids: tuple[int, ...]


def sample_text(file: Path | None) -> str:
    """A file's text, or chapters of the language reference that comes with every Python: 300,000
    characters of technical English.

    Its topics repeat one another, and a text that was there before is easily foretold: of them each text is taken once.

    Raises:
        UsageError: the file can't be read or is no text.
    """
    if file is None:
        return _reference()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{file} can't be read as text", context=str(error)[:200]) from error


def _reference() -> str:
    """The topics, the longest first, without those of which a paragraph is in a longer one."""
    from pydoc_data.topics import topics

    taken, seen = list[str](), set[str]()
    for text in sorted(topics.values(), key=lambda text: (-len(text), text)):
        paragraphs = {each.strip() for each in text.split("\n\n") if len(each) > _TELLING}
        if not paragraphs & seen:
            taken.append(text)
            seen |= paragraphs
    return "\n\n".join(taken)


def windows(codec: TextCodec, text: str, *, lengths: Sequence[int], count: int) -> dict[int, list[Window]]:
    """``count`` windows of each length, evenly over a text.

    Raises:
        UsageError: the text is too short, or a length is.
    """
    shortest, longest = min(lengths), max(lengths)
    if shortest <= PROBED:
        raise UsageError(f"the loss is that of {PROBED} tokens behind others", hint=f"lengths above {PROBED}")
    ids = codec.encode(text)
    if len(ids) < longest + count - 1:
        raise UsageError(
            f"the text has {len(ids):,} tokens, and {longest:,} at once are asked for", hint="name a longer --text"
        )
    step = (len(ids) - longest) // max(count - 1, 1)
    ends = [longest + number * step for number in range(count)]
    return {
        length: [Window(number=number, ids=tuple(ids[end - length : end])) for number, end in enumerate(ends)]
        for length in lengths
    }


def reach(losses: dict[int, float]) -> int:
    """The longest length up to which no loss is 5 % above that of the shortest, 0 if there is none.

    Args:
        losses: of each length, in nats per token.
    """
    found, allowed = 0, losses[min(losses)] * (1 + TOLERATED) if losses else 0.0
    for length in sorted(losses):
        if losses[length] >= allowed:
            break
        found = length
    return found


def borders(length: int) -> list[int]:
    """Where buckets of positions begin, and the last one ends: from 256 on each is as long as all before it."""
    found = [0]
    while (following := max(2 * found[-1], PROBED)) < length:
        found.append(following)
    return [*found, length]
