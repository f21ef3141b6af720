"""What is compared: one random base and random LoRA adapters, in each program's own format. Made once per folder."""

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Qwen3Config

from xpm_build.adapter.compile import save_slots
from xpm_build.adapter.methods import CompiledAdapter
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.architecture import MODULES, Architecture, Linear, tensor_name
from xpm_build.base.checkpoint import Checkpoint
from xpm_build.base.export import export_base, open_checkpoint
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.model_folder import write_model_folder
from xpm_build.bench.peers import reads_gguf
from xpm_build.bench.shapes import QWEN3_0_6B
from xpm_build.errors import BuildError
from xpm_build.local_base import DEFAULT_QUANTIZER
from xpm_runtime.adapter import SLOTS
from xpm_runtime.graph import GRAPH_FILE

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": QWEN3_0_6B,
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 256,
        "max_position_embeddings": 1024,
        "rope_theta": 1e4,
    },
}
# (name, ranks of the adapters that act together)
CASES: dict[str, tuple[int, ...]] = {"base": (), "one LoRA r16": (16,), "ten LoRA r12": (12,) * 10}
_GGUF_NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
CARRIED_BLOCK = 32  # of GGUF's types that are carried over
VARIANTS = (("int4", 128), ("int4", CARRIED_BLOCK))
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A folder with ``source`` (Hugging Face), ``xpm-*``, ``adapters/N`` (PEFT and slots)
    and, on demand, GGUF files."""

    root: Path
    title: str
    vocab_size: int
    gguf_base: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    def exported(self, variant: str, block: int) -> Path:
        return self.root / f"xpm-{variant}-{block}"

    def adapters(self, case: str) -> list[Path]:
        """The folders of a case's adapters."""
        if case == "base":
            return []
        first = 0 if case.startswith("one") else 1
        return [self.root / "adapters" / str(number) for number in range(first, first + len(CASES[case]))]

    def base(self, reads: str) -> Path:
        """The base as a program reads it (``Program.reads``)."""
        return {"gguf": self.gguf_base, "folder": self.source}[reads]

    def lora_gguf(self, adapter: Path) -> Path:
        return self.gguf(f"lora-{adapter.name}")

    def gguf(self, name: str) -> Path:
        return self.root / f"{name}.gguf"


def make_material(root: Path, *, shape: str, peers: Sequence[str], report: Report) -> Material:
    """Make what is not there yet of a random base of a shape.

    Raises:
        BuildError: the shape is unknown.
    """
    if shape not in SHAPES:
        raise BuildError(f"shape {shape!r} is unknown", hint=f"choose of {', '.join(SHAPES)}")
    folder = root / shape
    gguf = folder / "base-q4_0.gguf"
    title = f"{shape} with random weights"
    material = Material(root=folder, title=title, vocab_size=SHAPES[shape]["vocab_size"], gguf_base=gguf)
    if not (material.source / "tokenizer.json").is_file():
        report(f"making a random {shape}")
        _make_base(material.source, SHAPES[shape])
    weights = open_checkpoint(material.source)
    digest = _digest(material, weights)
    _export(material, lambda block: weights, digest, report)
    as_gguf = reads_gguf(peers)
    if as_gguf and not gguf.is_file():
        report("writing the same as GGUF")
        _write_gguf(material, Architecture(weights.configuration), weights)
    _make_adapters(material, weights, digest, as_gguf=as_gguf)
    return material


def real_material(root: Path, model: Path, *, peers: Sequence[str], report: Report) -> Material:
    """Make what is not there yet of a real model in a GGUF file, which every program reads as it
    is: random are the adapters.

    xpm's int4/32 has the file's own numbers where they are in blocks that can be carried over;
    int4/128 is rounded anew.
    """
    weights = open_checkpoint(model)
    title = f"{model.stem}, a real model, with random adapters"
    vocab_size = weights.configuration.vocab_size
    material = Material(root=root / model.stem, title=title, vocab_size=vocab_size, gguf_base=model)
    if not material.source.is_dir():
        report(f"writing {model.name} as a folder")
        write_model_folder(weights, material.source)
    digest = _digest(material, weights)

    def source_of(block: int) -> Checkpoint:
        return weights if block == CARRIED_BLOCK else open_checkpoint(material.source)

    _export(material, source_of, digest, report, quantizer=DEFAULT_QUANTIZER)
    _make_adapters(material, weights, digest, as_gguf=reads_gguf(peers))
    return material


def _export(
    material: Material,
    source_of: Callable[[int], Checkpoint],
    digest: str,
    report: Report,
    *,
    quantizer: str = "nearest",
) -> None:
    """xpm's variants that are not there yet, each of the weights that ``source_of`` gives for its block."""
    for variant, block in VARIANTS:
        out = material.exported(variant, block)
        if not (out / GRAPH_FILE).is_file():
            report(f"exporting {variant}, block {block}")
            export_base(source_of(block), out, variant=variant, block=block, digest=digest, quantizer=quantizer)


def _digest(material: Material, weights: Checkpoint) -> str:
    file = material.root / "digest"
    if not file.is_file():
        file.write_text(fingerprint(weights, weights.configuration))
    return file.read_text()


def _make_adapters(material: Material, weights: Checkpoint, digest: str, *, as_gguf: bool) -> None:
    architecture = Architecture(weights.configuration)
    ranks = [CASES["one LoRA r16"][0], *CASES["ten LoRA r12"]]
    for number, rank in enumerate(ranks):
        folder = material.root / "adapters" / str(number)
        _make_adapter(folder, architecture, rank, seed=number, digest=digest)
        if as_gguf and not material.lora_gguf(folder).is_file():
            _write_adapter_gguf(material, architecture, folder)


def _make_base(folder: Path, shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = Qwen3Config(**shape, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    tokenizer.save(str(folder / "tokenizer.json"))


def _make_adapter(folder: Path, architecture: Architecture, rank: int, *, seed: int, digest: str) -> None:
    """A random LoRA on all seven modules, in float16: what PEFT loads, and what it compiles to."""
    if (folder / SLOTS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    peft: dict[str, torch.Tensor] = {}
    compiled = CompiledAdapter(kind="lora", rank=rank)
    for linear in architecture.linears():
        a = 0.02 * torch.randn(rank, linear.num_in, generator=generator)
        b = 0.02 * torch.randn(linear.num_out, rank, generator=generator)
        name = f"base_model.model.{tensor_name(linear).removesuffix('.weight')}"
        peft |= {f"{name}.lora_A.weight": a.half(), f"{name}.lora_B.weight": b.half()}
        compiled.tensors |= {f"slots.{linear.name}.A": a.numpy(), f"slots.{linear.name}.B": b.T.numpy()}
    safetensors.torch.save_file(peft, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(MODULES),
        "task_type": "CAUSAL_LM",
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps({**config, "bias": "none", "inference_mode": True}))
    save_slots(compiled, folder / SLOTS, base_digest=digest, storage="float16")


def _write_gguf(material: Material, architecture: Architecture, weights: Checkpoint) -> None:
    """The base in float16 and, by llama.cpp itself, in Q4_0."""
    import gguf
    import llama_cpp

    a, config = architecture, architecture.config
    writer = gguf.GGUFWriter(material.gguf("base-f16"), "qwen3")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(a.hidden_size)
    writer.add_block_count(a.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(a.num_heads)
    writer.add_head_count_kv(a.num_kv_heads)
    writer.add_key_length(a.head_dim)
    writer.add_value_length(a.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(a.epsilon)
    writer.add_vocab_size(a.vocab_size)
    writer.add_file_type(1)
    writer.add_tokenizer_model("none")

    def add(name: str, tensor: str, *, half: bool = True) -> None:
        writer.add_tensor(name, weights[tensor].astype(np.float16 if half else np.float32))

    add("token_embd.weight", "model.embed_tokens.weight")
    add("output_norm.weight", "model.norm.weight", half=False)
    for layer in range(a.num_layers):
        home = f"model.layers.{layer}"
        norms = {
            "attn_norm": "input_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "attn_q_norm": "self_attn.q_norm",
            "attn_k_norm": "self_attn.k_norm",
        }
        for name, place in norms.items():
            add(f"blk.{layer}.{name}.weight", f"{home}.{place}.weight", half=False)
        for group in a.groups(layer):
            for linear in group.linears:
                add(_gguf_name(linear), tensor_name(linear))
    _finish(writer)
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    source, partial, target = (material.gguf(name) for name in ("base-f16", "base-q4_0.partial", "base-q4_0"))
    if llama_cpp.llama_model_quantize(str(source).encode(), str(partial).encode(), parameters) != 0:
        raise BuildError("llama.cpp could not quantise the base")
    partial.rename(target)


def _write_adapter_gguf(material: Material, architecture: Architecture, folder: Path) -> None:
    import gguf

    peft = safetensors.torch.load_file(folder / ADAPTER_WEIGHTS)
    adapter = gguf.GGUFWriter(material.lora_gguf(folder), architecture.config.model_type)
    adapter.add_type("adapter")
    adapter.add_string("adapter.type", "lora")
    adapter.add_float32("adapter.lora.alpha", float(next(iter(peft.values())).shape[0]))
    for linear in architecture.linears():
        name = f"base_model.model.{tensor_name(linear).removesuffix('.weight')}"
        for part in ("a", "b"):
            adapter.add_tensor(f"{_gguf_name(linear)}.lora_{part}", peft[f"{name}.lora_{part.upper()}.weight"].numpy())
    _finish(adapter)


def _gguf_name(linear: Linear) -> str:
    layer, module = linear.name.split(".")
    return f"blk.{layer}.{_GGUF_NAMES[module]}.weight"


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
