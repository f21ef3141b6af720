"""The only module that imports onnxruntime: a graph on a device, run through IO binding.

A ``Binding`` remembers what it bound under each name and binds again only what changed. Arrays on the CPU are bound by
address and may be changed between runs; on CUDA small inputs are copied at each run. Every other provider of ONNX
Runtime is given arrays on the CPU, and copies them as it needs.
"""

import contextlib
import ctypes
import io
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from xpm_runtime.errors import EngineError, ModelLoadError
from xpm_runtime.native import AllowedMemory
from xpm_runtime.pages import release, reserve

RUNTIME_VERSION: str = ort.__version__
_ERRORS_ONLY = 3
_SILENT = 4
_CUDA, _DIRECTML = "cuda", "directml"
_CPU = "CPUExecutionProvider"
PROVIDERS = {
    _CUDA: "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    _DIRECTML: "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""ONNX Runtime's name of each device but the CPU. Which of them there are depends on the
build of it that is installed."""


class DeviceBuffer:
    """Zeroed memory on the session's device, on the CPU virtual until it is used; ``array`` is its
    view there, None on CUDA."""

    def __init__(self, shape: tuple[int, ...], dtype: str, device: str) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._host: NDArray[Any] | None = None
        if device == "cpu":
            self._memory = reserve(self.num_bytes)
            self._host = np.frombuffer(self._memory, self.dtype, math.prod(shape)).reshape(shape)
            self._address = self._host.ctypes.data
            self._allowed = AllowedMemory(self._address, self.num_bytes, is_writable=True)
        else:
            self._value = ort.OrtValue.ortvalue_from_shape_and_type(shape, self.dtype, device, 0)
            self._address = int(self._value.data_ptr())

    @property
    def array(self) -> NDArray[Any] | None:
        return self._host

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def address(self, row: int) -> int:
        """The address of ``[row]``, a row being one step of the first dimension."""
        return self._address + row * self._row_bytes

    def release_row(self, row: int) -> None:
        """Give the memory of ``[row]`` back to the system; what it held is lost. Does nothing
        where that can't be done."""
        if self._host is not None:
            release(self._memory, row * self._row_bytes, (row + 1) * self._row_bytes)

    def release_part(self, row: int, first: int, last: int) -> None:
        """As ``release_row``, of the whole pages in bytes ``first : last`` of it."""
        if self._host is not None:
            start = row * self._row_bytes
            release(self._memory, start + first, start + last)

    def describe_rows(self, layouts: NDArray[np.int32]) -> None:
        """Tell our own kernels how each row is kept: (rows, 4), bits of keys and of values, window, sinks; it may
        change between runs."""
        if self._host is not None:
            self._allowed.describe_rows(layouts, self._row_bytes)

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class DeviceArray:
    """An array on CUDA, at an address that stays; ``put`` copies a host array of the same shape and type into it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def put(self, array: NDArray[Any]) -> None:
        self.value.update_inplace(np.ascontiguousarray(array))

    def numpy(self) -> NDArray[Any]:
        """A copy on the host."""
        result: NDArray[Any] = self.value.numpy()
        return result


class Session:
    """A loaded graph. ``device`` is what it really runs on: "cpu" where the provider that was asked
    for could not be started."""

    def __init__(
        self,
        folder: Path,
        file: str,
        *,
        device: str,
        threads: int | None,
        spinning: bool,
        operators: Path | None = None,
        cuda_options: Mapping[str, str] | None = None,
    ) -> None:
        """Load ``file`` of a base's ``folder`` on a device, with a library of operators of our
        own if its graph needs one."""
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        if operators is not None:
            options.register_custom_ops_library(str(operators))
        self._folder, self._options = folder, options
        self._providers: list[Any] = [_CPU]
        if device == _CUDA:
            ort.set_default_logger_severity(_SILENT)
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it can't find
                ort.preload_dlls()
            self._providers = [(PROVIDERS[_CUDA], dict(cuda_options or {})), _CPU]
        elif device in PROVIDERS and PROVIDERS[device] in ort.get_available_providers():
            self._providers = [PROVIDERS[device], _CPU]
            options.enable_mem_pattern = device != _DIRECTML  # which it requires
        self._graphs: dict[str, ort.InferenceSession] = {}
        self._session = self._load(file)
        self.device = device if self._session.get_providers()[0] == PROVIDERS.get(device) else "cpu"
        self._memory = self.device if self.device == _CUDA else "cpu"  # where arrays and the cache lie
        self.input_names = frozenset(each.name for each in self._session.get_inputs())

    @property
    def available_providers(self) -> list[str]:
        return list(ort.get_available_providers())

    def buffer(self, shape: tuple[int, ...], dtype: str) -> DeviceBuffer:
        return DeviceBuffer(shape, dtype, self._memory)

    def binding(self) -> "Binding":
        return Binding(self._session, self._memory)

    # For graphs made for CUDA

    def device_array(self, array: NDArray[Any]) -> DeviceArray:
        return DeviceArray(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, 0))

    def device_empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return DeviceArray(ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype), self.device, 0))

    def cuda_binding(self, file: str) -> "CudaBinding":
        """A binding of another graph of the base, loaded when it is first needed."""
        return CudaBinding(self._load(file), self.device)

    def _load(self, file: str) -> ort.InferenceSession:
        if file not in self._graphs:
            try:
                self._graphs[file] = ort.InferenceSession(
                    str(self._folder / file), self._options, providers=self._providers
                )
            except Exception as error:  # onnxruntime raises its own, unrelated types
                raise ModelLoadError(
                    f"the graph in {self._folder} could not be loaded", context=str(error)[:300]
                ) from error
        return self._graphs[file]


class Binding:
    """The inputs and outputs of one kind of run (prefill or decode)."""

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        self._session = session
        self._device = device
        self._io = session.io_binding()
        self._bound: dict[str, tuple[Any, ...]] = {}
        self._kept: dict[str, Any] = {}

    def bind_array(self, name: str, array: NDArray[Any]) -> None:
        """Bind a C-contiguous host array that stays the caller's; on the CPU its later changes are seen."""
        key = (id(array), array.ctypes.data, array.shape)
        if self._device == "cpu" and self._bound.get(name) == key:
            return
        self._bound[name], self._kept[name] = key, array
        if self._device == "cpu" and array.size:
            self._io.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        else:
            self._io.bind_cpu_input(name, array)

    def bind_resident(self, name: str, array: NDArray[Any]) -> None:
        """Bind an array that never changes; on CUDA it is copied to the device once."""
        if self._device == "cpu":
            self.bind_array(name, array)
        elif self._bound.get(name) != (id(array),):
            value = ort.OrtValue.ortvalue_from_numpy(array, self._device, 0)
            self._bound[name], self._kept[name] = (id(array),), (array, value)
            self._io.bind_ortvalue_input(name, value)

    def bind_rows(self, input_name: str, output_name: str | None, buffer: DeviceBuffer, first: int, count: int) -> None:
        """Bind rows ``first : first + count`` of a buffer as an input and, in place, as an
        output (if the graph has one)."""
        key = (id(buffer), first, count)
        if self._bound.get(input_name) == key:
            return
        self._bound[input_name], self._kept[input_name] = key, buffer
        shape, address = (count, *buffer.shape[1:]), buffer.address(first)
        self._io.bind_input(input_name, self._device, 0, buffer.dtype, shape, address)
        if output_name is not None:
            self._io.bind_output(output_name, self._device, 0, buffer.dtype, shape, address)

    def bind_result(self, name: str, array: NDArray[Any]) -> None:
        """Have the output ``name`` written to a host array."""
        key = (id(array), array.ctypes.data, array.shape)
        if self._bound.get(name) != key:
            self._bound[name], self._kept[name] = key, array
            self._io.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def clear(self) -> None:
        """Forget everything bound; needed when inputs fall back to their defaults."""
        self._io.clear_binding_inputs()
        self._io.clear_binding_outputs()
        self._bound.clear()
        self._kept.clear()

    def run(self, options: ort.RunOptions | None = None) -> None:
        try:
            self._session.run_with_iobinding(self._io, options)
        except Exception as error:  # onnxruntime raises its own, unrelated types
            raise EngineError("the graph could not be run", context=str(error)[:300]) from error


class CudaBinding(Binding):
    """The inputs and outputs of one shape of run, all at fixed addresses."""

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        super().__init__(session, device)
        self.inputs = frozenset(each.name for each in session.get_inputs())
        self._arrays: dict[str, DeviceArray] = {}

    def take(self, name: str, array: DeviceArray) -> None:
        """Bind an input."""
        self._arrays[name] = array
        self._io.bind_ortvalue_input(name, array.value)

    def give(self, name: str, array: DeviceArray) -> None:
        """Bind an output."""
        self._arrays[name] = array
        self._io.bind_ortvalue_output(name, array.value)

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Copy a host array to where an input was bound."""
        self._arrays[name].put(array)

    def host(self, name: str, array: NDArray[Any]) -> None:
        """Bind an input that the graph reads on the host."""
        self._io.bind_cpu_input(name, array)

    def replay(self, graph_id: int) -> None:
        """Run; under a number above 0 the run is captured when it is first made, and replayed from then on."""
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph_id))
        self.run(options)


def available_device() -> str:
    """ "cuda" where ONNX Runtime has its provider and there is a driver, else "cpu"."""
    return _CUDA if PROVIDERS[_CUDA] in ort.get_available_providers() and _has_driver() else "cpu"


def _has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
