"""Transformers with PEFT."""

import time
from pathlib import Path
from typing import Any


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
