"""The data file of an exported graph: large tensors, one after the other, each at a page of its own
so that it can be mapped."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

_ALIGNMENT = 4096
_INLINE_BYTES = 1024  # ONNX Runtime's shape inference can't read small constants from external data


class TensorFile:
    """Writes tensors and hands out what refers to them. A context manager."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("wb")

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, name: str, array: NDArray[Any]) -> TensorProto:
        """An initializer that holds the array, or refers to it in the file if it is large."""
        if array.nbytes <= _INLINE_BYTES:
            return onnx.numpy_helper.from_array(array, name)
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        self._file.write(np.ascontiguousarray(array).data)
        tensor = TensorProto(name=name, dims=array.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        for key, value in (("location", self._name), ("offset", str(offset)), ("length", str(array.nbytes))):
            tensor.external_data.add(key=key, value=value)
        return tensor


def reshaped(tensor: TensorProto, name: str, shape: tuple[int, ...]) -> TensorProto:
    """The same bytes under another name and shape."""
    result = TensorProto()
    result.CopyFrom(tensor)
    result.name = name
    del result.dims[:]
    result.dims.extend(shape)
    return result
