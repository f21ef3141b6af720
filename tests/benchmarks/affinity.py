"""Where requests should go: 100 replicas, 1,000 experts asked for by Zipf's law, and five ways to choose a replica.

    python -m tests.benchmarks.affinity [--requests 200000] [--use 0.8]

A simulation. A replica runs 8 requests at once and has the 24 experts in memory that it used last; a request needs one
to three experts and takes a second on average, and 0.3 s more for each that must be loaded. Requests arrive by chance
at 80 % of what the replicas could do if nothing were ever loaded. Prints, for each policy: how many of the experts
needed were there, how long requests waited for a lane, and how much the busiest replica had beside the average.
"""

import argparse
import heapq
import itertools
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from xpm_runtime.server.affinity import Ring, composition_key

NUM_REPLICAS, NUM_EXPERTS, LANES, KEPT = 100, 1000, 8, 24
SERVICE_S, LOAD_S = 1.0, 0.3
Loads = Counter[str]
Policy = Callable[[str, Loads], str]
NAMES = [f"replica-{number}" for number in range(NUM_REPLICAS)]


@dataclass
class Replica:
    experts: OrderedDict[str, None] = field(default_factory=OrderedDict)
    waiting: deque[tuple[float, tuple[str, ...], float]] = field(default_factory=deque)
    running: int = 0
    done: int = 0

    def load(self, experts: tuple[str, ...]) -> int:
        """Have experts in memory; how many were not."""
        missing = sum(each not in self.experts for each in experts)
        for each in experts:
            self.experts[each] = None
            self.experts.move_to_end(each)
        while len(self.experts) > KEPT:
            self.experts.popitem(last=False)
        return missing


def policies() -> dict[str, Policy]:
    rng, turns, ring = random.Random(2), itertools.cycle(NAMES), Ring(NAMES)

    def less_of_two(key: str, loads: Loads) -> str:
        return min(rng.sample(NAMES, 2), key=lambda name: loads[name])

    return {
        "random": lambda key, loads: rng.choice(NAMES),
        "round robin": lambda key, loads: next(turns),
        "the less busy of two": less_of_two,
        "consistent hashing": lambda key, loads: next(ring.order(key)),
        "with bounded loads": lambda key, loads: ring.choose(key, loads) or NAMES[0],
    }


def simulate(choose: Policy, num_requests: int, use: float) -> str:
    rng = random.Random(1)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, NUM_EXPERTS + 1)))
    rate = use * NUM_REPLICAS * LANES / SERVICE_S
    replicas, loads = {name: Replica() for name in NAMES}, Loads()
    ends: list[tuple[float, str]] = []
    waits: list[float] = []
    needed = missed = 0

    def begin(name: str, now: float) -> None:
        nonlocal needed, missed
        replica = replicas[name]
        while replica.waiting and replica.running < LANES:
            arrived, experts, service_s = replica.waiting.popleft()
            missing = replica.load(experts)
            needed, missed = needed + len(experts), missed + missing
            waits.append(now - arrived)
            replica.running += 1
            heapq.heappush(ends, (now + service_s + LOAD_S * missing, name))

    def end_until(now: float) -> None:
        while ends and ends[0][0] <= now:
            ended, name = heapq.heappop(ends)
            replicas[name].running -= 1
            replicas[name].done += 1
            loads[name] -= 1
            begin(name, ended)

    now = 0.0
    for _ in range(num_requests):
        now += rng.expovariate(rate)
        end_until(now)
        first = rng.choices(range(NUM_EXPERTS), cum_weights=weights)[0]
        # Who asks for an expert mostly asks for the same others with it.
        experts = tuple(f"e{(first + 7 * n) % NUM_EXPERTS}" for n in range(rng.choices((1, 2, 3), (6, 3, 1))[0]))
        name = choose(composition_key(experts), loads)
        loads[name] += 1
        replicas[name].waiting.append((now, experts, rng.expovariate(1 / SERVICE_S)))
        begin(name, now)
    end_until(float("inf"))
    waits.sort()
    busiest = max(replica.done for replica in replicas.values()) / (num_requests / NUM_REPLICAS)
    p50, p99 = waits[len(waits) // 2], waits[int(0.99 * len(waits))]
    return f"{100 * (1 - missed / needed):.1f} % | {p50:.2f} s | {p99:.2f} s | {busiest:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--use", type=float, default=0.8)
    options = parser.parse_args()
    print("| policy | experts that were there | wait, median | wait, p99 | busiest / average |\n|---|---|---|---|---|")
    for name, choose in policies().items():
        print(f"| {name} | {simulate(choose, options.requests, options.use)} |", flush=True)


if __name__ == "__main__":
    main()
