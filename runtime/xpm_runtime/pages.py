"""Memory that is virtual until it is written, and can be given back. The one place that knows how
POSIX and Windows do that."""

import ctypes
import mmap
import sys


def _whole_pages(first: int, last: int) -> tuple[int, int]:
    return -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE


if sys.platform == "win32":

    def reserve(num_bytes: int) -> mmap.mmap:
        """Zeroed memory of this process."""
        return mmap.mmap(-1, max(num_bytes, 1))

    def release(memory: mmap.mmap, first: int, last: int) -> None:
        """Give the whole pages in bytes ``first : last`` back to the system; what they held is lost,
        or kept in the page file."""
        first, last = _whole_pages(first, last)
        if first >= last:
            return
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory, first))
        # Unlocking what is not locked takes it out of the process's working set, and fails for that reason.
        ctypes.windll.kernel32.VirtualUnlock(ctypes.c_void_p(address), ctypes.c_size_t(last - first))
else:

    def reserve(num_bytes: int) -> mmap.mmap:
        """Zeroed memory of this process."""
        return mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def release(memory: mmap.mmap, first: int, last: int) -> None:
        """Give the whole pages in bytes ``first : last`` back to the system; what they held is lost,
        or kept in the page file."""
        first, last = _whole_pages(first, last)
        if first < last:
            memory.madvise(mmap.MADV_DONTNEED, first, last - first)
