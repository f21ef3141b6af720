"""Who is next, who gives way, and what is given up when many wait: arithmetic without an engine."""

import pytest

from xpm_runtime import Request, RequestError, SamplingParams
from xpm_runtime.server.degrading import degrade
from xpm_runtime.server.waiting import Place, Waiting, victims
from xpm_runtime.server.work import Limits, Order


def place(number, *, priority=4, accepted=0.0, tenant="", experts=()):
    return Place(
        item=number,
        number=number,
        accepted=accepted,
        priority=priority,
        tenant=tenant,
        experts=tuple((name, 1.0) for name in experts),
        num_tokens=10,
    )


def order_of(places, *, now=0.0, running=(), limits=None):
    """The numbers of places in the order in which they are next, each running from then on."""
    waiting = Waiting(limits or Limits())
    for each in places:
        waiting.add(each)
    running, found = list(running), []
    while best := waiting.best(now, running):
        waiting.remove(best)
        running.append(best)
        found.append(best.number)
    return found


def test_priority_comes_before_age_and_age_lifts_to_the_last_but_one():
    assert order_of([place(1, priority=3), place(2, priority=9), place(3, priority=4)]) == [2, 3, 1]
    old, new = place(1, priority=3), place(2, priority=6, accepted=13.9)
    assert order_of([new, old], now=14) == [2, 1]
    assert order_of([new, old], now=15) == [1, 2]
    ancient, first = place(1, priority=0), place(2, priority=9, accepted=999)
    assert order_of([ancient, first], now=1000) == [2, 1]


def test_among_equals_those_of_the_tenant_that_runs_least_then_of_the_experts_that_run():
    running = [place(0, tenant="a", experts=["sql"])]
    assert order_of([place(1, tenant="a"), place(2, tenant="a"), place(3, tenant="b")], running=running) == [3, 1, 2]
    others = [place(1, tenant="b"), place(2, tenant="c", experts=["sql"])]
    assert order_of(others, running=running) == [2, 1]


def test_a_tenant_has_no_more_running_than_it_may():
    limits = Limits(tenant_running=1)
    running = [place(0, tenant="a")]
    assert order_of([place(1, tenant="a", priority=9), place(2, tenant="b")], running=running, limits=limits) == [2]


def test_only_what_asked_for_much_less_gives_way_the_least_and_latest_first():
    running = [place(1, priority=2), place(2, priority=5), place(3, priority=2), place(4, priority=1)]
    assert [each.number for each in victims(place(9, priority=5), running, 3)] == [4, 3, 1]
    assert victims(place(9, priority=5), running, None) == []


def test_under_load_first_weaker_experts_are_dropped_then_length():
    limits = Limits(degrade_from=0.5, degraded_experts=1, degraded_tokens=20)
    request = Request(prompt="x", experts=("a", "b", "c"), scales=(0.5, -2, 0), sampling=SamplingParams(max_tokens=99))
    assert degrade(request, limits, fill=0.49) == (request, ())
    assert degrade(request, Limits(), fill=1) == (request, ())
    some, notes = degrade(request, limits, fill=0.5)
    assert (some.scales, some.sampling.max_tokens) == ((0, -2, 0), 99)
    assert notes == ("many requests wait: a did not act",)
    less, notes = degrade(request, limits, fill=0.75)
    assert (less.scales, less.sampling.max_tokens, len(notes)) == ((0, -2, 0), 20, 2)
    plain = Request(prompt="x", experts=("a", "b"), sampling=SamplingParams(max_tokens=5))
    assert degrade(plain, limits, fill=1)[0].scales == (1, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Order(request=Request(prompt="x"), priority=10), "a priority is 0 to 9"),
        (lambda: Order(request=Request(prompt="x"), timeout_s=0), "a timeout is above 0 s"),
        (lambda: Limits(tenant_running=0), "tenant_running must be above 0"),
        (lambda: Limits(ageing_s=0), "ageing_s must be above 0"),
    ],
)
def test_orders_and_limits_that_can_not_be_are_refused(make, message):
    with pytest.raises(RequestError, match=message):
        make()
