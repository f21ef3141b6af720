"""What this machine could do at best, measured in the same run: reading memory, and multiplying matrices."""

import time
from collections.abc import Callable

import torch


def memory_bandwidth(*, num_bytes: int, threads: int) -> float:
    """Bytes per second that a sum reads, each number once."""
    torch.set_num_threads(threads)
    numbers = torch.ones(num_bytes // 4)
    return numbers.numel() * 4 / _best(numbers.sum)


def matmul_rate(*, size: int, threads: int) -> float:
    """Multiply-adds per second of a float32 product of square matrices."""
    torch.set_num_threads(threads)
    a, b = torch.ones(size, size), torch.ones(size, size)
    return size**3 / _best(lambda: torch.mm(a, b))


def _best(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
