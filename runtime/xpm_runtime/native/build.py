"""Compiles the kernels, as part of building the package: ``python build.py`` by hand."""

import os
import platform
import re
import shlex
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = ("kernels.c", "ops.c", "registry.c")
_FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fopenmp-simd", "-march=x86-64-v4", "-mavx512vnni")
# Of the libraries that manylinux lets a wheel expect of every system (PEP 600), those that the kernels may need.
_EVERYWHERE = {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def build() -> Path | None:
    """Compile to ``libxpm_kernels.so`` beside this file; None if the platform or its compiler can't. The package works without."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    compiler = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "")
    target, partial = _HERE / "libxpm_kernels.so", _HERE / f".libxpm_kernels.{os.getpid()}.so"
    sources = [str(_HERE / source) for source in _SOURCES]
    try:
        command = [*shlex.split(compiler), *_FLAGS, *sources, "-o", str(partial), "-lm", "-lpthread"]
        if command[0] in _FLAGS:
            return None
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if finished.returncode != 0:
            print(f"the kernels could not be compiled: {finished.stderr[-500:]}")
            return None
        partial.replace(target)
    except (
        OSError,
        ValueError,
    ) as error:  # no such program, a folder that can't be written to, quotes in CC that don't match
        print(f"the kernels could not be compiled with CC={compiler!r}: {error}")
        return None
    finally:
        partial.unlink(missing_ok=True)
    return target


def platform_tag(library: Path) -> str:
    """The platform of a wheel that holds ``library``: the oldest glibc that will do, or any Linux if it needs more than that."""
    data = library.read_bytes()
    needed = set(re.findall(rb"\0((?:lib|ld-)[\w-]+\.so[\w.]*)(?=\0)", data))
    versions = [
        tuple(map(int, version.split(b"."))) for version in re.findall(rb"\0GLIBC_(\d+\.\d+)(?:\.\d+)?(?=\0)", data)
    ]
    if not versions or not {name.decode() for name in needed} <= _EVERYWHERE:
        return f"linux_{platform.machine()}"
    major, minor = max(*versions, (2, 17))
    return f"manylinux_{major}_{minor}_{platform.machine()}"


if __name__ == "__main__":
    print(build() or "not compiled: xpm will use ONNX Runtime's own kernels")
