"""Compiles the kernels, as part of building the package: ``python build.py`` by hand."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-fopenmp-simd", "-fno-strict-aliasing", "-fvisibility=hidden")
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
FAMILIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "x86_64": {"avx512vnni": ("-march=x86-64-v4", "-mavx512vnni"), "avxvnni": (*_AVX2, "-mavxvnni"), "avx2": _AVX2},
    "aarch64": {"neon": ("-march=armv8.2-a+dotprod",)},
}
"""The families of kernels that a machine may have, with the flags that each is compiled with: those,
and no others, are theirs."""
# Of the libraries that manylinux lets a wheel expect of every system (PEP 600), those that the kernels may need.
_EVERYWHERE = {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def build() -> Path | None:
    """Compile to ``libxpm_kernels.so`` beside this file; None if the platform or its compiler can't.
    The package works without."""
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in FAMILIES:
        return None
    name = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "")
    target, partial = _HERE / "libxpm_kernels.so", _HERE / f".libxpm_kernels.{os.getpid()}.so"
    try:
        compiler = shlex.split(name)
        if not compiler:
            return None
        compile_library(compiler, FAMILIES[machine], partial)
        partial.replace(target)
    except (
        OSError,
        ValueError,
    ) as error:  # no such program, what it says, a folder that can't be written to, odd quotes in CC
        print(f"the kernels could not be compiled with CC={name!r}: {error}")
        return None
    finally:
        partial.unlink(missing_ok=True)
    return target


def compile_library(
    compiler: Sequence[str], families: Mapping[str, Sequence[str]], target: Path, *, flags: Sequence[str] = ()
) -> None:
    """Compile everything into a shared library. A family that the compiler is too old for is left out.

    Args:
        families: name → flags of its translation unit.
        flags: for every unit, behind the usual ones.
    Raises:
        OSError: the compiler is not there. ValueError: it fails, with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-kernels-") as folder:
        objects, defines = [], []
        for family, own in {**families, "generic": ()}.items():
            made = Path(folder) / f"{family}.o"
            said = _call(compiler, *_FLAGS, *own, *flags, "-c", _HERE / "kernels" / f"{family}.c", "-o", made)
            if not said:
                objects.append(made)
                defines.append(f"-DXPM_HAS_{family.upper()}")
            elif family == "generic":
                raise ValueError(said)
        sources = [_HERE / "kernels" / "choose.c", *sorted(_HERE.glob("*.c"))]
        linking = ["-shared", "-lm", "-lpthread"]
        if said := _call(compiler, *_FLAGS, *defines, *flags, *sources, *objects, *linking, "-o", target):
            raise ValueError(said)


def _call(compiler: Sequence[str], *arguments: str | Path) -> str:
    """What the compiler said if it failed, else nothing."""
    command = [*compiler, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return "" if finished.returncode == 0 else finished.stderr[-500:] or f"{command[0]} failed"


def platform_tag(library: Path) -> str:
    """The platform of a wheel that holds ``library``: the oldest glibc that will do, or any Linux
    if it needs more than that."""
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
