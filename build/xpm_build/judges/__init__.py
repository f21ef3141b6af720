"""Judging what an expert wrote by running it: SQL on databases, Cypher on graphs, code against its tests, JSON by its value.

``judge_of(language)`` gives a function from cases and answers to ``Verdict``s. Generated code never runs in this process and
never sees the network; see ``sandbox``.
"""

from xpm_build.judges.verdict import Judge, Verdict, judge_of, measure_of

__all__ = ["Judge", "Verdict", "judge_of", "measure_of"]
