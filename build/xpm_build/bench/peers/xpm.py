"""The engine of this project."""

import time
from pathlib import Path
from typing import Any

from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams

_DRAWN = SamplingParams(max_tokens=1024, temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.1, seed=0)


class XpmPeer:
    """One request at a time. What is measured is its public steps: scheduling and sampling are in it.

    ``draws``: tokens are drawn, with every filter and the penalty, instead of the likeliest taken.
    """

    def __init__(
        self, folder: str, threads: int, adapters: list[Path], kernels: str = "auto", draws: bool = False
    ) -> None:
        started = time.perf_counter()
        self._engine = Engine.load(Path(folder), device="cpu", threads=threads, kernels=kernels)
        self.load_ms = 1e3 * (time.perf_counter() - started)
        started = time.perf_counter()
        for path in adapters:
            self._engine.attach(AdapterSpec.read(path.name, path))
        self.attach_ms = 1e3 * (time.perf_counter() - started)
        self._names = tuple(path.name for path in adapters)
        self._sequence: Any = None
        self._sampling = _DRAWN if draws else SamplingParams(max_tokens=1024)
        self.description = f"{self._engine.graph.variant}, {self._engine.kernels} kernels, float16 adapters"

    def prefill(self, ids: list[int]) -> None:
        if self._sequence is not None:
            self._engine.cancel(self._sequence)
        request = Request(prompt=ids, experts=self._names, sampling=self._sampling)
        self._sequence = self._engine.submit(request)
        while not self._sequence.is_prefilled:
            self._engine.step()

    def decode(self, token: int) -> None:
        self._sequence.token_ids[-1] = token
        self._engine.step()
        if self._sequence.is_finished:
            raise RuntimeError("the random base ended its answer: choose another token")
