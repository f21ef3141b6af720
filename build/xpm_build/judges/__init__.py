"""Judging what an expert wrote by running it: SQL on databases, Cypher on graphs, code against its
tests, JSON by its value.

``judge_of(language)`` gives a function from cases and answers to ``Verdict``s. Generated code never runs
in this process and never sees the network; see ``sandbox``. A language is a file with its ``Language``,
and a line in ``languages``.
"""

from xpm_build.judges.judging import judge_of, measure_of
from xpm_build.judges.language import Judge, Verdict

__all__ = ["Judge", "Verdict", "judge_of", "measure_of"]
