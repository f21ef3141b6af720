"""ONNX Runtime GenAI, on the graph that its own model builder makes, without adapters."""

import time
from pathlib import Path
from typing import Any

import numpy as np

_CONTEXT = 1536


class GenaiPeer:
    """Tokens are appended and logits computed one call at a time, the likeliest chosen by the program itself."""

    def __init__(self, model: str, threads: int, adapters: list[Path]) -> None:
        import onnxruntime_genai

        self._lib = onnxruntime_genai
        started = time.perf_counter()
        config = onnxruntime_genai.Config(model)
        config.overlay(f'{{"model": {{"decoder": {{"session_options": {{"intra_op_num_threads": {threads}}}}}}}}}')
        self._model = onnxruntime_genai.Model(config)
        self.load_ms = 1e3 * (time.perf_counter() - started)
        self.attach_ms = 0.0
        self._generator: Any = None
        self.description = f"int4, block 32, version {onnxruntime_genai.__version__}"

    def prefill(self, ids: list[int]) -> None:
        parameters = self._lib.GeneratorParams(self._model)
        parameters.set_search_options(max_length=_CONTEXT, do_sample=False)
        self._generator = self._lib.Generator(self._model, parameters)
        self._run(ids)

    def decode(self, token: int) -> None:
        self._run([token])

    def _run(self, ids: list[int]) -> None:
        self._generator.append_tokens(np.array([ids], np.int32))
        int(np.argmax(self._generator.get_logits()))
