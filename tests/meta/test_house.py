"""The house itself: what the wheel holds, what importing costs, that every command is documented, where imports point."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xpm.cli.main import ALIASES, COMMANDS, GROUPS, cli

ROOT = Path(__file__).parents[2]
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
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(_commands()))
def test_every_command_has_an_example_and_is_documented(name, command):
    assert f"Example: xpm {name}" in (command.help or "")
    assert f"`xpm {name}" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path):
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"xpm", "xpm_index", "xpm_runtime", "xpm_build"}
    needed = {
        "xpm/embedded/index.bundle", "xpm/operations/licenses/MIT.txt", "xpm_build/domains/phrases/sql.toml",
        "xpm_build/embedded/packages/expert-sql/manifest.json", "xpm_build/expert.schema.json",
    }  # fmt: skip
    assert needed <= set(names)
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 32e6
    assert not [name for name in names if name.endswith((".pyc", ".pkl", ".bin")) or "tests" in name.split("/")]


def test_every_module_says_what_it_owns():
    for package in ("xpm", "index/xpm_index", "runtime/xpm_runtime", "build/xpm_build"):
        for path in (ROOT / package).rglob("*.py"):
            assert path.read_text(encoding="utf-8").startswith('"""'), path
