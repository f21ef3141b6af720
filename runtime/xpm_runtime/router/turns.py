"""Who answers a turn of a conversation that means nothing by itself ("and by country?"): those who answered before it.

Where the router finds nobody for a turn, and it is no general question, the conversation goes on with whoever answered
last; a closing word ("thanks") takes nothing from them. Invariant: that depends on the user's turns alone, and is found
by looking back from the last one, only as far as needed.
"""

from collections.abc import Callable, Collection, Sequence

from xpm_runtime.router.decision import Decision
from xpm_runtime.router.signs import is_general

MAX_LOOKED_BACK = 8
"""Turns: who answered before so many is forgotten, and looking for them takes no longer."""
_CLOSING = "asks:nothing"


def goes_on(decision: Decision) -> bool:
    """Whether a turn is for those who answered before, if somebody did."""
    return not decision.experts and not is_general(frozenset(decision.signs))


def is_closing(signs: Collection[str]) -> bool:
    """Whether a turn of these signs asks for nothing."""
    return _CLOSING in signs


def answered_before(earlier: Sequence[str], route: Callable[[str], Decision]) -> tuple[str, ...]:
    """Who goes on with a turn behind others, () for the base.

    Args:
        earlier: the user's turns before it, in order.
        route: chooses for one by itself.
    """
    for text in reversed(earlier[-MAX_LOOKED_BACK:]):
        decision = route(text)
        if decision.experts:
            return decision.experts
        if not goes_on(decision) and not is_closing(decision.signs):
            return ()
    return ()
