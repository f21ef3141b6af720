"""Choose one version of the base and of every expert needed: PubGrub, pure, over a provider of candidates.

Owns what a resolution is, how it is found, why there is none, and what would help. Knows no index, file or clock:
candidates and the time come in as callables.
"""

from xpm.resolve.explain import conflict_graph, proof
from xpm.resolve.order import MAX_EXPERTS, composition_order
from xpm.resolve.problem import Candidates, Problem, Resolution
from xpm.resolve.resolver import resolve
from xpm.resolve.suggest import Suggestion, suggest

__all__ = [
    "MAX_EXPERTS",
    "Candidates",
    "Problem",
    "Resolution",
    "Suggestion",
    "composition_order",
    "conflict_graph",
    "proof",
    "resolve",
    "suggest",
]
