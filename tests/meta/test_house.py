"""The house itself: what the wheel holds, what importing costs, that every command is
documented, where imports point."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.docs.commands import leaves
from xpm.cli.main import ALIASES, COMMANDS, GROUPS, cli
from xpm_runtime.native.build import platform_tag

ROOT = Path(__file__).parents[2]
_KERNELS = "xpm_runtime/native/libxpm_kernels.so"
HEAVY = ("numpy", "torch", "onnxruntime", "dulwich", "transformers")


def test_help_is_cheap():
    code = (
        "import sys; sys.argv = ['xpm', '--help']\n"
        "from xpm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"{heading}:" in done.stdout for heading in GROUPS)
    assert done.stderr.strip() == "[]"


def test_every_command_is_in_one_group():
    grouped = [name for names in GROUPS.values() for name in names.split()]
    assert sorted(grouped) == sorted(COMMANDS)
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert not set(ALIASES) & set(COMMANDS)


def _commands():
    import click

    for name in COMMANDS:
        yield from leaves(name, cli.get_command(click.Context(cli), name))


@pytest.mark.parametrize(("name", "command"), list(_commands()))
def test_every_command_has_an_example_and_is_documented(name, command):
    assert f"Example: xpm {name}" in (command.help or "")
    assert f"`xpm {name}" in (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def _wheel(folder, **environment):
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--no-cache-dir", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path):
    wheel = _wheel(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"xpm", "xpm_index", "xpm_runtime", "xpm_build"}
    needed = {
        "xpm/embedded/index.bundle",
        "xpm/operations/licenses/MIT.txt",
        "xpm/site/static/style.css",
        "xpm/site/templates/layout.html",
        "xpm_build/domains/everyday/columns.toml",
        "xpm_build/domains/phrases/sql.toml",
        "xpm_build/expert.schema.json",
    }
    assert needed <= set(names)
    assert not [name for name in names if name.startswith("xpm_build/embedded")]  # a recipe, which is in examples/
    sizes = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist()}
    assert sizes.pop("xpm/embedded/index.bundle") < 60e6
    assert sum(sizes.values()) < 9e6
    assert not [name for name in names if name.endswith((".pyc", ".pkl", ".bin")) or "tests" in name.split("/")]
    # The kernels are loaded by address, so the wheel is for every CPython, of the platform that they were compiled for.
    platform_tag = "manylinux_2_\\d+_x86_64|linux_x86_64" if _KERNELS in names else "any"
    assert re.fullmatch(rf"xpm_experts-[\d.]+-py3-none-({platform_tag})\.whl", wheel.name)


@pytest.mark.parametrize("compiler", ["nope", "false", "'unbalanced", " "])
def test_without_a_compiler_that_works_the_wheel_is_pure_python(compiler, tmp_path):
    wheel = _wheel(tmp_path, CC=compiler)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert _KERNELS not in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize(
    ("names", "tag"),
    [
        (("libc.so.6", "GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.4"), "manylinux_2_34_x86_64"),
        (("libc.so.6", "libm.so.6", "GLIBC_2.2.5"), "manylinux_2_17_x86_64"),
        (("libc.so.6", "libgomp.so.1", "GLIBC_2.34"), "linux_x86_64"),
        (("libc.musl-x86_64.so.1",), "linux_x86_64"),
    ],
)
def test_the_platform_of_a_wheel_is_what_its_library_needs(names, tag, tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    library = tmp_path / "libxpm_kernels.so"
    library.write_bytes(b"\x7fELF\0" + b"".join(name.encode() + b"\0" for name in names))
    assert platform_tag(library) == tag


def test_the_requirements_with_the_cpu_runtime_are_the_package_s_own():
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    wanted = {each.split(";")[0].replace("onnxruntime-gpu", "onnxruntime") for each in dependencies}
    lines = (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == wanted


def test_lines_that_ruff_does_not_read_are_as_short():
    files = [path for kind in ("*.c", "*.h", "*.lark") for path in (ROOT / "runtime/xpm_runtime").rglob(kind)]
    assert len(files) > 20
    lengths = {path.name: max(map(len, path.read_text(encoding="utf-8").splitlines())) for path in files}
    assert {name: length for name, length in lengths.items() if length > 120} == {}


def test_every_module_says_what_it_owns():
    for package in ("xpm", "index/xpm_index", "runtime/xpm_runtime", "build/xpm_build", "examples"):
        for path in (ROOT / package).rglob("*.py"):
            assert path.read_text(encoding="utf-8").startswith('"""'), path


_ONE_PLACE = {
    "fcntl": {"index/xpm_index/locks.py"},
    "msvcrt": {"index/xpm_index/locks.py"},
    "resource": {
        "index/xpm_index/process_limits.py",
        "build/xpm_build/processes.py",
        "build/xpm_build/judges/worker.py",
    },
    "mmap": {"runtime/xpm_runtime/pages.py"},
}


@pytest.mark.parametrize("module", _ONE_PLACE)
def test_what_differs_between_systems_is_in_one_place_of_each_package(module):
    importing = re.compile(rf"^\s*(import {module}\b|from {module} import)", re.MULTILINE)
    packages = ("xpm", "index/xpm_index", "runtime/xpm_runtime", "build/xpm_build")
    found = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if importing.search(path.read_text(encoding="utf-8"))
    }
    assert found == _ONE_PLACE[module]


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_types_are_checked_as_other_systems_see_them(system):
    assert f"mypy --platform {system}" in (ROOT / "Makefile").read_text(encoding="utf-8")
