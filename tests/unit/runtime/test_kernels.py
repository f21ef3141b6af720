"""Every family of kernels against the plain one: natively where this processor has it, else
emulated; and under sanitizers."""

import platform
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

import xpm_runtime.native
from xpm_runtime import native

_HOME = Path(xpm_runtime.native.__file__).parent
_BUILD = runpy.run_path(str(_HOME / "build.py"))
_TESTS = Path(__file__).parents[2] / "native"
_FLAGS = ["-std=gnu11", "-fopenmp-simd", "-fno-strict-aliasing", f"-I{_HOME / 'kernels'}"]
_SANITIZED = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
_X86, _ARM = (_BUILD["FAMILIES"][machine] for machine in ("x86_64", "aarch64"))
_AVX2 = _X86["avx2"]
needs_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="instructions of x86 are emulated by others of it"
)
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")


def _has_family(name: str) -> bool:
    found = native.family()
    has = native.use_family(name)
    native.use_family(found)
    return has


def _compile(out: Path, *arguments: str | Path, compiler: str = "gcc") -> Path:
    command = [compiler, *_FLAGS, *arguments, "-o", out]
    compiled = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def generic(tmp_path_factory):
    """The generic kernels, compiled once by each compiler with each of the flags that they are asked for with."""
    folder, made = tmp_path_factory.mktemp("generic"), {}

    def compiled(compiler: str, checks: tuple[str, ...]) -> Path:
        key = (compiler, checks)
        if key not in made:
            source, out = _HOME / "kernels" / "generic.c", folder / f"{len(made)}.o"
            made[key] = _compile(out, *checks, "-c", source, compiler=compiler)
        return made[key]

    return compiled


def _compare(
    program: Path, generic: Path, flags: list[str], *, compiler: str = "gcc", runner: tuple[str, ...] = ()
) -> None:
    family = program.name
    sources = [_HOME / "kernels" / f"{family}.c", generic, _TESTS / "compare.c"]
    _compile(program, f"-DFAMILY={family}", *flags, *sources, "-lm", compiler=compiler)
    done = subprocess.run([*runner, str(program)], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert "is like the generic kernels" in done.stdout


@needs_compiler
@needs_x86
@pytest.mark.parametrize("checks", [["-O3"], _SANITIZED], ids=["optimised", "sanitized"])
@pytest.mark.parametrize("family", _X86)
def test_families_of_x86(tmp_path, generic, family, checks):
    flags = [*checks, *_X86[family]]
    if not _has_family(family):
        header = {"avxvnni": "emulated_avxvnni.h", "avx512vnni": "emulated_avx512.h"}.get(family)
        if header is None or not _has_family("avx2"):
            pytest.skip(f"this processor has neither {family} nor what emulates it")
        if family == "avx512vnni" and not Path("/usr/include/simde/x86/avx512.h").is_file():
            pytest.skip("SIMDe's headers are not installed (libsimde-dev)")
        # Optimising emulated instructions takes minutes, and SIMDe loads from where UBSan wants no loads.
        flags = [
            *(["-O1"] if checks == ["-O3"] else ["-O0", "-fsanitize=address"]),
            *_AVX2,
            "-w",
            "-include",
            str(_TESTS / header),
        ]
    _compare(tmp_path / family, generic("gcc", tuple(checks)), flags)


@pytest.mark.skipif(
    not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")) and platform.machine() != "aarch64",
    reason="there is neither an ARM processor nor qemu-aarch64 and its compiler",
)
def test_the_family_of_arm(tmp_path, generic):
    program, flags = tmp_path / "neon", _ARM["neon"]
    if platform.machine() == "aarch64":
        _compare(program, generic("gcc", ("-O3",)), ["-O3", *flags])
    else:
        compiler, checks = "aarch64-linux-gnu-gcc", ("-O2", "-static")
        of_arm = generic(compiler, checks)
        _compare(program, of_arm, [*checks, *flags], compiler=compiler, runner=("qemu-aarch64",))


@needs_compiler
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="there is no qemu-x86_64 to be an older processor")
@pytest.mark.skipif(native.library() is None, reason="the kernels were not compiled")
@pytest.mark.parametrize(("processor", "family"), [("Nehalem", "generic"), ("Haswell", "avx2")])
def test_a_library_runs_on_older_processors_than_it_was_made_on(processor, family, tmp_path):
    program = tmp_path / "family"
    subprocess.run(["gcc", _TESTS / "family.c", "-o", program, "-ldl"], check=True)
    command = ["qemu-x86_64", "-cpu", processor, program, native._LIBRARY]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{family}\n"), done.stderr


@needs_compiler
def test_a_compiler_that_knows_no_new_instructions_leaves_families_out(tmp_path):
    families = {"avx2": ("-mno-such-thing",)}
    _BUILD["compile_library"](["gcc"], families, tmp_path / "kernels.so")
    assert b"is like" not in (tmp_path / "kernels.so").read_bytes()
    symbols = subprocess.run(["nm", "-D", tmp_path / "kernels.so"], capture_output=True, text=True).stdout
    assert "T RegisterCustomOps" in symbols
    assert "_kernels" not in symbols.replace("xpm_kernels", "").replace("xpm_use_kernels", "")


def test_a_library_of_another_version_is_not_used(monkeypatch, tmp_path):
    if native.library() is None:
        pytest.skip("this machine has no kernels")
    source = tmp_path / "old.c"
    source.write_text(
        "int xpm_version(void) { return 1; }\n"
        + "".join(
            f"int {name}(void) {{ return 1; }}\n"
            for name in ("xpm_kernels", "xpm_use_kernels", "xpm_allow", "xpm_forbid")
        )
    )
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", tmp_path / "old.so"], check=True)
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "old.so")
    monkeypatch.setattr(native, "_loaded", native._loaded.__wrapped__)
    assert native.library() is None
