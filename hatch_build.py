"""Compiles the runtime's kernels while the package is built. Without a C compiler the wheel is pure Python."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        native = runpy.run_path(str(Path(self.root) / "runtime" / "xpm_runtime" / "native" / "build.py"))
        library = native["build"]()
        if library is not None and version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = (
                f"py3-none-{native['platform_tag'](library)}"  # it is loaded by ctypes: any CPython will do
            )
            build_data["force_include"][str(library)] = "xpm_runtime/native/libxpm_kernels.so"
