"""Who is taken for whom as a picture: a matrix of squares, numbered, written as a PNG without a drawing library."""

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xpm_runtime.router.evaluation import Evaluation

_CELL = 28
# Digits of three by five dots, a row in each number.
_DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717")


def write_confusion(path: Path, evaluation: "Evaluation") -> list[str]:
    """Draw the matrix: a row for who was wanted, a column for who was chosen, both numbered; darker is more of a row.

    Returns:
        ``1 name`` and so on, in the order of rows and columns.
    """
    names = sorted({name for pair in evaluation.confusion for name in pair})
    counts = np.zeros((len(names), len(names)), np.int64)
    for (wanted, chosen), count in evaluation.confusion.items():
        counts[names.index(wanted), names.index(chosen)] = count
    path.write_bytes(_png(_drawn(counts)))
    return [f"{number} {name}" for number, name in enumerate(names, start=1)]


def _drawn(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    size = len(counts) + 1
    picture = np.full((size * _CELL + 1, size * _CELL + 1, 3), 255, np.uint8)
    totals = np.maximum(counts.sum(axis=1), 1)
    for place in range(1, size):
        _write(picture, place, 0, place, dark=True)
        _write(picture, 0, place, place, dark=True)
        for other in range(1, size):
            count = int(counts[place - 1, other - 1])
            share = count / totals[place - 1]
            colour = np.array([255, 255, 255]) - share * (
                np.array([200, 130, 60]) if place == other else np.array([30, 190, 190])
            )
            picture[place * _CELL + 1 : (place + 1) * _CELL, other * _CELL + 1 : (other + 1) * _CELL] = colour
            if count:
                _write(picture, place, other, count, dark=share < 0.6)
    picture[_CELL::_CELL, _CELL:] = 210
    picture[_CELL:, _CELL::_CELL] = 210
    return picture


def _write(picture: NDArray[np.uint8], row: int, column: int, number: int, *, dark: bool) -> None:
    """Put a number into the middle of a cell."""
    text = str(min(number, 9999))
    top = row * _CELL + (_CELL - 10) // 2
    left = column * _CELL + (_CELL - 8 * len(text) + 2) // 2 if len(text) < 4 else column * _CELL + 1
    step = 8 if len(text) < 4 else 7
    for place, digit in enumerate(text):
        for y, dots in enumerate(_DIGITS[int(digit)]):
            for x in range(3):
                if int(dots) >> (2 - x) & 1:
                    at = left + place * step + 2 * x
                    picture[top + 2 * y : top + 2 * y + 2, at : at + 2] = 40 if dark else 255


def _png(picture: NDArray[np.uint8]) -> bytes:
    """An RGB picture, uint8 (height, width, 3), as the bytes of a PNG (ISO/IEC 15948)."""
    height, width, _ = picture.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
