"""Several experts' adapters on one base in PyTorch, un-merged, each at a scale that gradients can reach."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xpm_build.adapter.compile import complete
from xpm_build.adapter.peft_files import ADAPTER_CONFIG
from xpm_build.adapter.places import adapter_places, for_base
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import load_model
from xpm_build.errors import BuildError
from xpm_build.manifest_file import read_manifest


class Together:
    """A base with experts' adapters of low rank on it, all frozen.

    Invariant: a linear's output is the base's plus the sum over experts of scale · update, as the engine computes it.
    """

    def __init__(self, base: Path, experts: Mapping[str, Path], scratch: Path) -> None:
        """
        Args:
            base: the Hugging Face folder of the base.
            experts: name → folder, in the order of the scales.
            scratch: an empty folder for adapters that have to be completed before PEFT can load them.
        Raises:
            BuildError: one is for another base, or is no update of low rank alone.
        """
        from peft.tuners.lora import LoraLayer

        self.names = tuple(experts)
        self.model: Any = load_model(base)
        digest, slots = base_digest(self.model), adaptable(self.model)
        self._owner: dict[str, int] = {}
        for number, (name, folder) in enumerate(experts.items()):
            manifest = for_base(read_manifest(folder), digest)
            for position, place in enumerate(adapter_places(manifest, folder)):
                adapter = f"{number}-{position}"
                whole = complete(folder / place, scratch / adapter, slots)
                _require_low_rank(name, whole)
                self._load(whole, adapter)
                self._owner[adapter] = number
        self.model.base_model.set_adapter(list(self._owner))
        self.model.eval().requires_grad_(False)
        layers = [each for each in self.model.modules() if isinstance(each, LoraLayer)]
        self._trained = [(layer, dict(layer.scaling)) for layer in layers]

    def _load(self, folder: Path, adapter: str) -> None:
        from peft import PeftModel

        if self._owner:
            self.model.load_adapter(folder, adapter_name=adapter)
        else:
            self.model = PeftModel.from_pretrained(self.model, folder, adapter_name=adapter)

    def set_scales(self, scales: torch.Tensor) -> None:
        """
        Args:
            scales: float32 (num_experts,), 1 as each was trained; gradients reach it through what is computed next.
        """
        for layer, trained in self._trained:
            for adapter, own in trained.items():
                layer.scaling[adapter] = own * scales[self._owner[adapter]]

    def updates(self) -> dict[str, list[tuple[int, tuple[torch.Tensor, torch.Tensor]]]]:
        """Path of a linear → (number of an expert, (A (rank, in), B (out, rank) as strong as it was
        trained)) of those on it."""
        found: dict[str, list[tuple[int, tuple[torch.Tensor, torch.Tensor]]]] = {}
        for path, layer in self.model.base_model.model.named_modules():
            for adapter in layer.lora_A if hasattr(layer, "lora_A") else ():
                pair = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight * layer.scaling[adapter]
                found.setdefault(path, []).append((self._owner[adapter], pair))
        return found

    def loss(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean cross-entropy of a batch's answers, a scalar.

        Args:
            batch: of ``batch_of``.
        """
        logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch["labels"][:, 1:].flatten())


def batch_of(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, torch.Tensor]:
    """``input_ids``, ``attention_mask`` and ``labels``, int64 (rows, length), of (prompt, answer) tokens.

    Prompts are read, not learned.
    """
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, mask = (torch.zeros(len(rows), length, dtype=torch.int64) for _ in range(2))
    labels = torch.full((len(rows), length), -100)
    for number, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[number, :end] = torch.tensor([*prompt, *answer])
        mask[number, :end] = 1
        labels[number, len(prompt) : end] = torch.tensor(answer)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def encoded(
    rows: Sequence[Mapping[str, str]], tokenizer: Any, max_tokens: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """(prompt, answer) tokens of rows that are not longer than ``max_tokens``, or of the
    shortest row, shortest first."""
    pairs = []
    for each in rows:
        prompt, answer = (
            tokenizer(each[key], add_special_tokens=False)["input_ids"] for key in ("prompt", "completion")
        )
        pairs.append((prompt, answer))
    pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
    return [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= max_tokens] or pairs[:1]


def _require_low_rank(name: str, folder: Path) -> None:
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    other = (
        str(config.get("peft_type")).lower()
        if config.get("peft_type") != "LORA"
        else next((kind for key, kind in _OTHERS.items() if config.get(key)), "")
    )
    if other:
        raise BuildError(
            f"{name} is no plain update of low rank",
            context=f"its adapter is {other}",
            hint="name LoRA and rsLoRA experts",
        )


_OTHERS = {"use_dora": "DoRA", "alora_invocation_tokens": "an activated LoRA"}
