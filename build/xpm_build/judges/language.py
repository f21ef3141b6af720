"""What is known of a language that experts write: a ``Language`` each, in the file of its judge, all
of them in ``languages``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpm_build.judges.checks import CheckForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``parses``: the answer is well-formed. ``right``: it does what the gold answer does.
    ``reason``: why not, in one line."""

    right: bool
    parses: bool
    reason: str = ""


Row = dict[str, Any]
Judge = Callable[[Sequence[Row], Sequence[str]], list[Verdict]]
"""Rows of a data set (the gold answer and ``check`` are read) and an answer for each."""


def one_spaced(text: str) -> str:
    """The text with one space wherever it has some."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """
    name: in manifests and data sets.
    judge: runs the answers to rows that have a ``check``; where ``check`` is None, compares all with the gold answers.
    check: the form of a row's ``check``, None if answers are not run.
    measure: what a report calls the judge's figure.
    syntax_error: why a text is not well-formed, "" if it is.
    is_parsed_apart: ``syntax_error`` needs the sandbox, so that an answer which is not run is not parsed either.
    misfit: why a well-formed completion is not what its ``check`` asks for, as can be told without running it.
    compiler: the program without which no answer can be run here, None if it is missing.
    normalised: two texts are alike if this makes the same of them.
    comment: what a line of comment begins with, "" if there are none.
    """

    name: str
    judge: Judge
    check: CheckForm | None = None
    measure: str = "execution accuracy"
    syntax_error: Callable[[str], str] = lambda text: ""
    is_parsed_apart: bool = False
    misfit: Callable[[str, dict[str, Any]], str] = lambda text, check: ""
    compiler: Callable[[], str | None] | None = None
    normalised: Callable[[str], str] = one_spaced
    comment: str = ""

    @property
    def is_executed(self) -> bool:
        return self.check is not None

    def parses(self, text: str) -> bool:
        """Whether ``text`` is well-formed; where that is told in a sandbox alone, whether there is any."""
        return bool(text.strip()) and (self.is_parsed_apart or not self.syntax_error(text))

    def is_alike(self, wanted: str, answer: str) -> bool:
        return self.normalised(wanted) == self.normalised(answer)
