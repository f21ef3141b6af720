"""Memory that is given back: whole pages only, and what is beside them stays."""

import mmap
import sys

import numpy as np

from xpm_runtime.pages import release, reserve


def test_what_is_given_back_is_lost_and_what_is_beside_it_stays():
    memory = reserve(4 * mmap.PAGESIZE)
    array = np.frombuffer(memory, np.uint8)
    assert not array.any()
    array[:] = 7
    release(memory, mmap.PAGESIZE - 1, 3 * mmap.PAGESIZE + 1)
    assert (array[: mmap.PAGESIZE] == 7).all()
    assert (array[3 * mmap.PAGESIZE :] == 7).all()
    if sys.platform == "linux":  # elsewhere the system takes them when it needs them
        assert not array[mmap.PAGESIZE : 3 * mmap.PAGESIZE].any()
    release(memory, 1, 2)
    assert array[1] == 7


def test_memory_of_no_size():
    assert len(reserve(0)) == 1
