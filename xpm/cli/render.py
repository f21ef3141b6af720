"""The only module that formats: tables, cards, errors and progress. Data goes to stdout, everything else to stderr."""

import itertools
import json
import os
import shutil
import sys
import textwrap
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TextIO

from xpm.errors import ExpectedError

_BAR_PERIOD_S = 0.1
_GAP = "  "
_LEAST_COLUMN = 6
_LEAST_TEXT = 24
_UNSAFE = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\ufffd") | {ord(each): each for each in "\n\t"}


def use_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _red(text: str, stream: TextIO) -> str:
    return f"\x1b[31;1m{text}\x1b[0m" if use_colour(stream) else text


def dim(text: str, stream: TextIO) -> str:
    return f"\x1b[2m{text}\x1b[0m" if use_colour(stream) else text


def size(num_bytes: float) -> str:
    """``3.4 MB``: powers of a thousand, as disks and downloads are counted."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def duration(span: timedelta) -> str:
    """``3 h``: the largest whole unit."""
    seconds = span.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _columns() -> int | None:
    """The width that a table has to fit into; None where no person looks at it."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fitted(widths: list[int], columns: int | None) -> list[int]:
    """The widths of a table's columns, the widest made narrower until all fit; none below a few characters."""
    widths = list(widths)
    while columns and sum(widths) + len(_GAP) * (len(widths) - 1) > columns and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width``, broken at spaces where there are any; no character is lost but these."""
    return textwrap.wrap(text, width, break_on_hyphens=False) if len(text) > width else [text]


class ReaderGone(BaseException):
    """Whoever reads what is printed (`… | head`) has read enough: the end, and no failure."""


class Console:
    """What the commands write to; a ``Progress`` for the operations."""

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self._what = ""
        self._total = self._done = self._skipped = 0
        self._started = self._shown = 0.0
        self._bar_is_open = False

    def out(self, text: str) -> None:
        self.piece(text + "\n")

    def json(self, document: Any) -> None:
        self.piece(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")

    def piece(self, text: str) -> None:
        """A part of an answer, at once and without a newline; raises ReaderGone if nobody reads any more."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error

    def answer(self, text: str) -> None:
        """A piece of what a model wrote: what would steer a terminal is made visible on one."""
        self.piece(text.translate(_UNSAFE) if sys.stdout.isatty() else text)

    def aside(self, text: str) -> None:
        """Something beside an answer, not to be confused with it."""
        if not self.quiet:
            self._line(dim(text, sys.stderr))

    def figures(self, text: str) -> None:
        """What was asked for about an answer; also where nothing else is to be said."""
        self._line(text)

    def say(self, text: str) -> None:
        """Something a person may want to know."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """Something that will be a problem unless somebody acts."""
        if not self.quiet:
            self._line(f"warning: {text}")

    def detail(self, text: str) -> None:
        if self.verbose:
            self._line(text)

    def _line(self, text: str) -> None:
        """A line for people; a bar that is being drawn gives way and comes again below it."""
        sys.stderr.write(("\r\x1b[K" if self._bar_is_open else "") + text + "\n")
        self._bar_is_open = False

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        cells = [[str(cell) for cell in row] for row in [header, *rows]]
        columns = _columns()
        last = max(len(row[-1]) for row in cells)
        widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
        widths = _fitted(widths, columns)
        room = columns - sum(widths) - len(_GAP) * len(widths) if columns else last
        is_below = room < min(last, _LEAST_TEXT)  # then each row's last cell has a line of its own
        for row in cells:
            parts = [_wrapped(cell, width) for cell, width in zip(row[:-1], widths, strict=True)]
            if not is_below:
                parts.append(_wrapped(row[-1], room))
            for line in itertools.zip_longest(*parts, fillvalue=""):
                self.out(_GAP.join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=False)).rstrip())
            for text in _wrapped(row[-1], (columns or last) - len(_GAP)) if is_below and row[-1] else ():
                self.out(_GAP + text)

    def card(self, fields: Mapping[str, object]) -> None:
        shown = {name: value for name, value in fields.items() if value not in ("", None, (), [], {})}
        width = max(len(name) for name in shown)
        columns = _columns()
        room = max(columns - width - len(_GAP), _LEAST_COLUMN) if columns else None
        for name, value in shown.items():
            items = value if isinstance(value, (list, tuple)) else [value]
            lines = [line for item in items for line in (_wrapped(str(item), room) if room else [str(item)])]
            for number, line in enumerate(lines):
                self.out(f"{name if number == 0 else '':{width}}  {line}")

    # Progress

    def start(self, what: str, total_bytes: int) -> None:
        self._what, self._total, self._done, self._skipped = what, total_bytes, 0, 0
        self._started = time.monotonic()
        self._shown = 0.0

    def advance(self, num_bytes: int) -> None:
        self._done += num_bytes
        self._draw()

    def skip(self, num_bytes: int) -> None:
        self._done += num_bytes
        self._skipped += max(num_bytes, 0)
        if num_bytes > 0:
            self._draw()

    def stop(self) -> None:
        if self._bar_is_open:
            sys.stderr.write("\n")
        self._bar_is_open = False

    def _draw(self) -> None:
        finished = self._done >= self._total
        if self.quiet or (not finished and time.monotonic() - self._shown < _BAR_PERIOD_S):
            return
        self._shown = time.monotonic()
        speed = max(self._done - self._skipped, 0) / max(self._shown - self._started, 1e-3)
        left = f", {(self._total - self._done) / speed:.0f} s left" if speed and not finished else ""
        line = f"{self._what}: {size(self._done)} of {size(self._total)}, {size(speed)}/s{left}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if finished else ""))
            self._bar_is_open = not finished
        elif finished:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def note(self, text: str) -> None:
        if text:
            self.detail(text)


def error_document(error: ExpectedError) -> dict[str, Any]:
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "context": error.context,
            "hint": error.hint,
            "exit_code": error.exit_code,
            **(error.to_dict() if hasattr(error, "to_dict") else {}),
        }
    }


def show_error(error: ExpectedError, *, as_json: bool) -> None:
    """``error[code]: message``, the context below it, and the hint; with --json the same fields on stdout."""
    if as_json:
        sys.stdout.write(json.dumps(error_document(error), indent=2, ensure_ascii=False) + "\n")
        return
    lines = [f"{_red(f'error[{error.code}]', sys.stderr)}: {error.message}"]
    lines += [f"  {line}" for line in (error.context or "").splitlines()]
    if error.hint:
        lines += ["", f"hint: {error.hint}"]
    sys.stderr.write("\n".join(lines) + "\n")


def show_crash(error: BaseException, *, verbose: bool) -> None:
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"{_red('error[bug]', sys.stderr)}: {type(error).__name__}: {error}\n")
    sys.stderr.write("\nhint: this is a bug of xpm; run `xpm --verbose …` again and report what it prints\n")
