"""Compiles the kernels, as part of building the package: ``python build.py`` by hand."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = ("kernels.c", "ops.c", "registry.c")
_FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fopenmp-simd", "-march=x86-64-v4", "-mavx512vnni")


def build() -> Path | None:
    """Compile to ``libxpm_kernels.so`` beside this file; None if the platform or its compiler can't. The package works without."""
    compiler = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None or platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    target, partial = _HERE / "libxpm_kernels.so", _HERE / f".libxpm_kernels.{os.getpid()}.so"
    command = [
        *compiler.split(),
        *_FLAGS,
        *(str(_HERE / source) for source in _SOURCES),
        "-o",
        str(partial),
        "-lm",
        "-lpthread",
    ]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            print(f"the kernels could not be compiled: {finished.stderr[-500:]}")
            return None
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


if __name__ == "__main__":
    print(build() or "not compiled: xpm will use ONNX Runtime's own kernels")
