"""Limits of programs that xpm starts. The one place of this package that knows how POSIX limits a process.

Windows has no limit on the size of files; there xpm starts no program that writes any (``git_program.is_available``).
"""

import sys
from collections.abc import Callable

if sys.platform == "win32":

    def limiting_files(max_bytes: int) -> Callable[[], None] | None:
        """What a child process does before its program starts so that no file that it writes
        grows larger; None: nothing."""
        return None
else:
    import resource

    def limiting_files(max_bytes: int) -> Callable[[], None] | None:
        """What a child process does before its program starts so that no file that it writes
        grows larger; None: nothing."""

        def limit() -> None:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            most = max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

        return limit
