"""What this process used, and limits and the end of others. The one place of this package that knows how
POSIX and Windows do that.

Windows has no sandbox that ``judges.sandbox`` could use, so nothing is started there that would have to be confined.
"""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

if sys.platform == "win32":

    class _MemoryCounters(ctypes.Structure):
        _fields_ = [
            ("size", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("peak_working_set", ctypes.c_size_t),
            *((f"other_{number}", ctypes.c_size_t) for number in range(7)),
        ]

    def peak_memory_bytes() -> int:
        """The most memory that this process had so far."""
        counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.K32GetProcessMemoryInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
        kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
        return int(counters.peak_working_set)

    def confining(
        *, cpu_s: int, file_bytes: int, num_files: int, memory_bytes: int, data_bytes: int
    ) -> Callable[[], None] | None:
        """What a child process does before its program starts so that it begins a group and
        keeps limits; None: nothing."""
        return None

    def kill_group(process: subprocess.Popen[bytes]) -> None:
        """End a process, and what it started."""
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
else:
    import os
    import resource
    import signal
    from pathlib import Path

    def peak_memory_bytes() -> int:
        """The most memory that this process had so far."""
        if sys.platform == "linux":  # whose getrusage counts what the parent had when it started this program
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def confining(
        *, cpu_s: int, file_bytes: int, num_files: int, memory_bytes: int, data_bytes: int
    ) -> Callable[[], None] | None:
        """What a child process does before its program starts so that it begins a group and
        keeps limits; None: nothing."""

        def confine() -> None:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            resource.setrlimit(resource.RLIMIT_NOFILE, (num_files, num_files))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if memory_bytes:
                resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            if data_bytes:
                resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))

        return confine

    def kill_group(process: subprocess.Popen[bytes]) -> None:
        """End a process, and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
