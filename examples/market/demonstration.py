"""The index of the demonstration: its experts made side by side, each published with its versions and its story."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from examples.market.base import unpack
from examples.market.make import draw_data, make
from examples.market.plan import Planned, planned
from examples.market.shelf import Shelf


def build(work: Path, *, count: int | None = None, workers: int | None = None) -> Path:
    """Make the first experts of the plan and publish them, as far as that is not done yet; the index's path.

    Args:
        count: how many; all if None.
        workers: processes, each on one core; how many there are changes the time, not what is made.
    """
    work.mkdir(parents=True, exist_ok=True)
    wanted = planned()[:count]
    embedded = unpack(work)
    for domain in dict.fromkeys(each.domain for each in wanted if each.field):
        draw_data(work, domain)
    shelf = Shelf(work)
    context = multiprocessing.get_context("spawn")
    num_workers = min(len(wanted), workers or os.cpu_count() or 1)
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin) as pool:
        first = [pool.submit(make, each, work, embedded) if not each.requires else None for each in wanted]
        for number, (each, made) in enumerate(zip(wanted, first, strict=True)):
            # What requires another is judged beside it, which the plan names before.
            archives = made.result() if made else pool.submit(make, each, work, embedded).result()
            shelf.put(each, number, archives, work / "experts" / each.name)
            _say(number, each, len(wanted))
    shelf.refresh()
    return shelf.path


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _say(number: int, each: Planned, count: int) -> None:
    sys.stderr.write(f"{number + 1}/{count} {each.name}\n")
