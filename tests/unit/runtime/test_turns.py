"""Who goes on with a turn that means nothing by itself."""

import pytest

from xpm_runtime.router.decision import Decision
from xpm_runtime.router.turns import MAX_LOOKED_BACK, answered_before, goes_on

# What stands for each expert, for a general question, for a closing word and for what means nothing.
SQL, RUST, WHAT, THANKS, HM = "sql", "rust", "what is", "thanks", "hm"
_SIGNS = {WHAT: ("asks:definition",), THANKS: ("asks:nothing",)}


def route(text):
    experts = (f"expert-{text}",) if text in (SQL, RUST) else ()
    return Decision(
        experts=experts, candidates=(), confidence=1, task="", signs=_SIGNS.get(text, ()), language="", reason=""
    )


@pytest.mark.parametrize(
    ("earlier", "answered"),
    [
        ([], ()),
        ([HM], ()),
        ([SQL], ("expert-sql",)),
        ([SQL, RUST], ("expert-rust",)),
        ([SQL, HM, HM], ("expert-sql",)),
        ([SQL, THANKS], ("expert-sql",)),
        ([SQL, WHAT], ()),
        ([SQL, WHAT, HM], ()),
        ([SQL, WHAT, THANKS], ()),
        ([WHAT, SQL], ("expert-sql",)),
        ([SQL, *[HM] * (MAX_LOOKED_BACK - 1)], ("expert-sql",)),
        ([SQL, *[HM] * MAX_LOOKED_BACK], ()),
    ],
)
def test_looking_back_finds_who_answered_last(earlier, answered):
    assert answered_before(earlier, route) == answered
    assert answered_before(earlier[-MAX_LOOKED_BACK:], route) == forward(earlier[-MAX_LOOKED_BACK:])


def forward(turns):
    """The same, from the first turn on."""
    last = ()
    for text in turns:
        decision = route(text)
        acting = decision.experts or (last if goes_on(decision) else ())
        last = last if text == THANKS else acting
    return last


def test_no_more_is_looked_at_than_needed():
    looked_at = []
    answered_before([SQL, RUST, HM], lambda text: looked_at.append(text) or route(text))
    assert looked_at == [HM, RUST]
