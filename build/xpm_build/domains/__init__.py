"""Grammar-driven generators of training material, offline and seeded: the ``template`` provider of
``xpm dataset generate``.

Each domain module knows one language that experts write and makes ``Case``s of it: a request in one of many wordings,
the answer, and what a judge needs to run that answer. How a request is worded stands in ``phrases/*.toml``, from which
identifiers and values are absent; where identifiers come from stands in ``words``.
"""

from xpm_build.domains.case import Case
from xpm_build.domains.registry import DOMAINS, Domain, draw_case, draw_cases

__all__ = ["DOMAINS", "Case", "Domain", "draw_case", "draw_cases"]
