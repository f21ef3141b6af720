"""llama.cpp, and ik_llama.cpp, which descends from it, through the low-level calls of their Python packages."""

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_CONTEXT, _BATCH = 2048, 512


class LlamaPeer:
    """The logits of the last token are computed and read."""

    def __init__(self, model: str, threads: int, adapters: list[Path]) -> None:
        self._lib = self._library()
        self._lib.llama_backend_init()
        started = time.perf_counter()
        self._model = self._lib.llama_model_load_from_file(model.encode(), self._lib.llama_model_default_params())
        parameters = self._lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = _CONTEXT, _BATCH, _BATCH
        parameters.n_threads = parameters.n_threads_batch = threads
        self._configure(parameters, adapters)
        self._context = self._lib.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise RuntimeError(f"{model} could not be loaded")
        self.load_ms = 1e3 * (time.perf_counter() - started)
        started = time.perf_counter()
        if adapters:
            self._attach(adapters)
        self.attach_ms = 1e3 * (time.perf_counter() - started)
        self._length = 0
        self.description = f"{Path(model).stem}, float16 adapters"

    def _library(self) -> Any:
        import llama_cpp

        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p())
        return llama_cpp

    def _configure(self, parameters: Any, adapters: Sequence[Path]) -> None:
        """Change what the defaults would make impossible."""

    def _attach(self, adapters: Sequence[Path]) -> None:
        loaded = [self._lib.llama_adapter_lora_init(self._model, str(path).encode()) for path in adapters]
        scales = (ctypes.c_float * len(loaded))(*[1.0] * len(loaded))
        pointers = (type(loaded[0]) * len(loaded))(*loaded)
        if self._lib.llama_set_adapters_lora(self._context, pointers, len(loaded), scales) != 0:
            raise RuntimeError("llama.cpp refused the adapters")

    def _clear(self) -> None:
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)

    def prefill(self, ids: list[int]) -> None:
        self._clear()
        self._length = 0
        self._run(ids)

    def decode(self, token: int) -> None:
        self._run([token])

    def _run(self, ids: list[int]) -> None:
        batch = self._lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place] = token, self._length + place
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
            batch.logits[place] = place == len(ids) - 1
        status = self._lib.llama_decode(self._context, batch)
        self._lib.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"decoding failed with {status}")
        logits = self._lib.llama_get_logits_ith(self._context, -1)
        vocab = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model))
        int(np.argmax(np.ctypeslib.as_array(logits, shape=(vocab,))))
        self._length += len(ids)


class IkLlamaPeer(LlamaPeer):
    """Its own defaults, weights repacked as it loads them; the calls for adapters have other
    names, and no Python ones."""

    def _library(self) -> Any:
        from ik_llama_cpp import _ctypes_api

        return _ctypes_api

    def _configure(self, parameters: Any, adapters: Sequence[Path]) -> None:
        parameters.flash_attn = not adapters  # it refuses adapters otherwise

    def _attach(self, adapters: Sequence[Path]) -> None:
        library = self._lib._lib
        library.llama_lora_adapter_init.restype = ctypes.c_void_p
        library.llama_lora_adapter_init.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.llama_lora_adapter_set.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float]
        for path in adapters:
            adapter = library.llama_lora_adapter_init(self._model, str(path).encode())
            if not adapter or library.llama_lora_adapter_set(self._context, adapter, 1.0) != 0:
                raise RuntimeError("ik_llama.cpp refused an adapter")

    def _clear(self) -> None:
        self._lib.llama_kv_cache_clear(self._context)
