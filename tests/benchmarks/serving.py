"""The worker under load: what it costs beside the engine alone, and what comes of more orders than it can do.

    python -m tests.benchmarks.serving [--base FOLDER] [--seconds 10] [--leaving 10000]

Without a base, a tiny one of random weights is made: its steps cost less than those of any model, so what the worker
costs shows most. Orders arrive by chance (Poisson) at 0.5, 1, 2 and 5 times the rate that the engine can do; one in ten
is of priority 9. An order counts as done in time if its answer is complete within its timeout. Last, the memory that is
taken by clients that go away in the middle of their answers, and by a thousand that read nothing until the end.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.models import save_tiny_model
from xpm_build.base.export import export_base
from xpm_runtime import Engine, Request, SamplingParams
from xpm_runtime.server.work import Limits, Order, Overloaded
from xpm_runtime.server.worker import Worker

LANES = 8
TOKENS = 32
PATIENCE = 4  # a timeout is so many times what an answer takes when all lanes are busy
MOST_QUEUED = 64
ROUNDS = 5


@dataclass
class Load:
    """What became of orders: milliseconds until the first token and until the end of those
    done in time, by priority."""

    first_ms: dict[int, list[float]] = field(default_factory=dict)
    end_ms: dict[int, list[float]] = field(default_factory=dict)
    num_asked: int = 0
    num_refused: int = 0
    num_late: int = 0

    @property
    def num_done(self) -> int:
        return sum(map(len, self.end_ms.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--leaving", type=int, default=10_000)
    options = parser.parse_args()
    with opened(options.base) as engine:
        capacity = measured(engine)
        for share in 3 * (0.5, 1, 2, 5):  # three times, in turns: machines are not always equally fast
            load = asyncio.run(offered(engine, share * capacity, options.seconds, PATIENCE * LANES / capacity))
            print(told(share, load, options.seconds), flush=True)
        asyncio.run(left(engine, options.leaving))
        asyncio.run(read_late(engine, 1000))


@contextmanager
def opened(base: Path | None) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = base or Path(scratch) / "graph"
        if base is None:
            export_base(save_tiny_model(Path(scratch) / "source"), folder)
        with Engine.load(folder, device="cpu", max_lanes=LANES, context=256) as engine:
            yield engine


def request(seed: int) -> Request:
    prompt = [int(each) for each in random.Random(seed).choices(range(3, 250), k=24)]
    sampling = SamplingParams(max_tokens=TOKENS, logit_bias={2: -100}, temperature=1, seed=seed)
    return Request(prompt=prompt, sampling=sampling)


def measured(engine: Engine) -> float:
    """Answers per second that the engine can do: the best of rounds by itself and, in turns, through a worker."""
    alone, through = [], []
    for number in range(ROUNDS):
        requests = [request(1000 * number + seed) for seed in range(3 * LANES)]
        started = time.perf_counter()
        engine.generate_batch(requests)
        alone.append(len(requests) / (time.perf_counter() - started))
        through.append(asyncio.run(full(engine, requests)))
    ratio = statistics.median(one / other for one, other in zip(through, alone, strict=True))
    print(f"the engine alone: {max(alone):.1f} answers/s, {max(alone) * TOKENS:.0f} tokens/s")
    print(f"through the worker: {max(through):.1f} answers/s; {100 * ratio:.1f} % of that, median of {ROUNDS} rounds")
    return max(*alone, *through)


async def full(engine: Engine, requests: list[Request]) -> float:
    """Answers per second through a worker whose queue does not run dry."""
    worker = Worker(engine, limits=Limits(max_queued=10_000))
    worker.start()
    started = time.perf_counter()
    await asyncio.gather(*(answered(worker, Order(request=each), Load()) for each in requests))
    elapsed = time.perf_counter() - started
    await asyncio.to_thread(worker.close)
    return len(requests) / elapsed


async def answered(worker: Worker, order: Order, load: Load) -> None:
    started = time.perf_counter()
    load.num_asked += 1
    try:
        ticket = await worker.submit(order)
    except Overloaded:
        load.num_refused += 1
        return
    async for delta in ticket:
        result = delta.result
    if result is None or result.finish_reason == "timeout":
        load.num_late += 1
        return
    load.first_ms.setdefault(order.priority, []).append(ticket.first_token_ms or 0.0)
    load.end_ms.setdefault(order.priority, []).append(1e3 * (time.perf_counter() - started))


async def offered(engine: Engine, rate: float, seconds: float, timeout_s: float) -> Load:
    """What becomes of orders that arrive by chance at a rate per second."""
    worker, load, rng = Worker(engine, limits=Limits(max_queued=MOST_QUEUED)), Load(), random.Random(1)
    worker.start()
    tasks, started, due = [], time.perf_counter(), 0.0
    while (due := due + rng.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
        priority = 9 if rng.random() < 0.1 else 4
        order = Order(request=request(len(tasks)), priority=priority, timeout_s=timeout_s)
        tasks.append(asyncio.create_task(answered(worker, order, load)))
    await asyncio.gather(*tasks)
    await asyncio.to_thread(worker.close)
    assert engine.violations() == []
    return load


async def left(engine: Engine, count: int) -> None:
    """Clients that go away after a random time."""
    worker, rng, free = Worker(engine, limits=Limits(max_queued=count)), random.Random(3), asyncio.Semaphore(64)
    worker.start()

    async def client(number: int) -> None:
        async with free:
            ticket = await worker.submit(Order(request=request(number % 500)))
            asyncio.get_running_loop().call_later(0.05 * rng.random(), ticket.cancel)
            async for _ in ticket:
                pass

    memory = []
    for half in range(2):
        await asyncio.gather(*(client(number) for number in range(half * count // 2, (half + 1) * count // 2)))
        memory.append(resident_mb())
    ended = worker.snapshot().total_finished
    await asyncio.to_thread(worker.close)
    assert engine.violations() == []
    print(
        f"{count} clients that left ({dict(ended)}): {memory[0]:.0f} MB after half of them, {memory[1]:.0f} after all"
    )


async def read_late(engine: Engine, count: int) -> None:
    """Clients that read nothing until all is written."""
    worker = Worker(engine, limits=Limits(max_queued=count))
    worker.start()
    before = resident_mb()
    tickets = [await worker.submit(Order(request=request(number))) for number in range(count)]
    while sum(worker.snapshot().total_finished.values()) < count:
        await asyncio.sleep(0.05)
    num_deltas = 0
    for ticket in tickets:
        async for _ in ticket:
            num_deltas += 1
    print(f"{count} readers of nothing until the end: {resident_mb() - before:.1f} MB more, {num_deltas} deltas")
    await asyncio.to_thread(worker.close)


def resident_mb() -> float:
    """Memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def told(share: float, load: Load, seconds: float) -> str:
    parts = [f"{share:g} x capacity: {load.num_asked} orders", f"{load.num_done / seconds:.1f} done in time/s"]
    parts += [f"{load.num_refused} refused", f"{load.num_late} late"]
    for priority, name in ((9, "priority 9"), (4, "priority 4")):
        first, end = (sorted(by.get(priority, [0.0])) for by in (load.first_ms, load.end_ms))
        parts.append(
            f"{name}: first token p50 {first[len(first) // 2]:.0f} p99 {first[int(0.99 * len(first))]:.0f} ms, "
            f"end p99 {end[int(0.99 * len(end))]:.0f} ms"
        )
    return "; ".join(parts)


if __name__ == "__main__":
    main()
