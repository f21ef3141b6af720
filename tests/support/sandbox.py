"""A mark for tests that run generated code: skipped where the machine offers no way to take the network away."""

import pytest

from xpm_build.judges.sandbox import SandboxError, isolation


def _can_isolate() -> bool:
    try:
        isolation()
    except SandboxError:
        return False
    return True


needs_sandbox = pytest.mark.skipif(not _can_isolate(), reason="no way to take the network from a process here")
