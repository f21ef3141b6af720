"""One program under test, in a process of its own: reads commands as JSON lines, answers with what it measured.

{"do": "prefill", "tokens": 128}             -> {"ms": ...}
{"do": "decode", "tokens": 48}               -> {"ms": [per token], "context": ...}
{"do": "facts"}                              -> {"load_ms": ..., "attach_ms": ..., "rss_mb": ..., "bits": ...}
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xpm_build.processes import peak_memory_bytes


class Peer(Protocol):
    """Prefills a prompt into an empty cache; decodes behind what was prefilled."""

    load_ms: float
    attach_ms: float
    description: str

    def prefill(self, ids: list[int]) -> None: ...

    def decode(self, token: int) -> None: ...


class XpmPeer:
    """The engine, one request at a time. What is measured is its public steps: scheduling and sampling are in it."""

    def __init__(self, folder: str, threads: int, adapters: list[Path], kernels: str) -> None:
        from xpm_runtime import AdapterSpec, Engine

        started = time.perf_counter()
        self._engine = Engine.load(Path(folder), device="cpu", threads=threads, kernels=kernels)
        self.load_ms = 1e3 * (time.perf_counter() - started)
        started = time.perf_counter()
        for path in adapters:
            self._engine.attach(AdapterSpec.read(path.name, path))
        self.attach_ms = 1e3 * (time.perf_counter() - started)
        self._names = tuple(path.name for path in adapters)
        self._sequence: Any = None
        self.description = f"{self._engine.graph.variant}, {self._engine.kernels} kernels, float16 adapters"

    def prefill(self, ids: list[int]) -> None:
        from xpm_runtime import Request, SamplingParams

        if self._sequence is not None:
            self._engine.cancel(self._sequence)
        request = Request(prompt=ids, experts=self._names, sampling=SamplingParams(max_tokens=1024))
        self._sequence = self._engine.submit(request)
        while not self._sequence.is_prefilled:
            self._engine.step()

    def decode(self, token: int) -> None:
        self._sequence.token_ids[-1] = token
        self._engine.step()
        if self._sequence.is_finished:
            raise RuntimeError("the random base ended its answer: choose another token")


class LlamaPeer:
    """llama.cpp through llama-cpp-python's low-level calls; the logits of the last token are computed and read."""

    def __init__(self, model: str, threads: int, adapters: list[Path]) -> None:
        import llama_cpp

        self._lib = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        started = time.perf_counter()
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = 2048, 512, 512
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        self.load_ms = 1e3 * (time.perf_counter() - started)
        started = time.perf_counter()
        loaded = [llama_cpp.llama_adapter_lora_init(self._model, str(path).encode()) for path in adapters]
        if loaded:
            scales = (ctypes.c_float * len(loaded))(*[1.0] * len(loaded))
            pointers = (type(loaded[0]) * len(loaded))(*loaded)
            if llama_cpp.llama_set_adapters_lora(self._context, pointers, len(loaded), scales) != 0:
                raise RuntimeError("llama.cpp refused the adapters")
        self.attach_ms = 1e3 * (time.perf_counter() - started)
        self._length = 0
        self.description = "Q4_0, output in Q6_K, float16 adapters"

    def prefill(self, ids: list[int]) -> None:
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)
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
            raise RuntimeError(f"llama.cpp failed with {status}")
        logits = self._lib.llama_get_logits_ith(self._context, -1)
        vocab = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model))
        int(np.argmax(np.ctypeslib.as_array(logits, shape=(vocab,))))
        self._length += len(ids)


class PeftPeer:
    """Transformers with PEFT, in bfloat16, adapters active together and not merged."""

    def __init__(self, folder: str, threads: int, adapters: list[Path]) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self._torch = torch
        started = time.perf_counter()
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True).eval()
        self.load_ms = 1e3 * (time.perf_counter() - started)
        started = time.perf_counter()
        if adapters:
            model = PeftModel.from_pretrained(model, str(adapters[0]), adapter_name=adapters[0].name)
            for path in adapters[1:]:
                model.load_adapter(str(path), adapter_name=path.name)
            model.base_model.set_adapter([path.name for path in adapters])
            model = model.to(torch.bfloat16).eval()
        self.attach_ms = 1e3 * (time.perf_counter() - started)
        self._model = model
        self._past: Any = None
        self.description = "bfloat16, bfloat16 adapters"

    def prefill(self, ids: list[int]) -> None:
        self._past = None
        self._run(ids)

    def decode(self, token: int) -> None:
        self._run([token])

    def _run(self, ids: list[int]) -> None:
        with self._torch.inference_mode():
            output = self._model(
                input_ids=self._torch.tensor([ids]), past_key_values=self._past, use_cache=True, logits_to_keep=1
            )
            self._past = output.past_key_values
            int(output.logits[0, -1].argmax())


def serve(peer: Peer, vocab_size: int) -> None:
    """Answer commands until standard input ends."""
    rng = np.random.default_rng(0)

    def some(count: int) -> list[int]:
        return [int(token) for token in rng.integers(2, vocab_size, count)]

    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "facts":
            answer = {
                "load_ms": peer.load_ms,
                "attach_ms": peer.attach_ms,
                "rss_mb": _peak_mb(),
                "what": peer.description,
            }
        elif command["do"] == "prefill":
            ids = some(command["tokens"])
            started = time.perf_counter()
            peer.prefill(ids)
            answer = {"ms": 1e3 * (time.perf_counter() - started)}
        elif command["do"] == "decode":
            times = []
            for token in some(command["tokens"]):
                started = time.perf_counter()
                peer.decode(token)
                times.append(1e3 * (time.perf_counter() - started))
            answer = {"ms": times}
        print(json.dumps(answer), flush=True)


def _peak_mb() -> float:
    """The most that was resident since this program began; the system's own count begins with its parent."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return peak_memory_bytes() / 1e6
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3


def main() -> None:
    settings = json.loads(sys.argv[1])
    adapters = [Path(path) for path in settings["adapters"]]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    peer: Peer
    if settings["peer"] == "llama.cpp":
        peer = LlamaPeer(settings["model"], settings["threads"], adapters)
    elif settings["peer"] == "peft":
        peer = PeftPeer(settings["model"], settings["threads"], adapters)
    else:
        peer = XpmPeer(settings["model"], settings["threads"], adapters, settings["kernels"])
    serve(peer, settings["vocab_size"])


if __name__ == "__main__":
    main()
