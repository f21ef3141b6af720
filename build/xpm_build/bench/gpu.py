"""What a CUDA device has to show, in stages that print as they go: ``python -m xpm_build.bench.gpu
--out FOLDER [STAGE …]``.

Makes its models from seeds, so nothing has to be brought. Needs torch for CUDA, Transformers, PEFT and ONNX Runtime's
CUDA build; figures go to ``gpu.json``. A stage that fails is reported, and the others run.
"""

import argparse
import collections
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import safetensors.torch
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Qwen3Config

from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.base.architecture import MODULES, Architecture
from xpm_build.base.base_tensors import BaseTensors
from xpm_build.base.checkpoint import FolderCheckpoint
from xpm_build.base.cuda_graph import CudaGraph
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import quantise_weights
from xpm_build.base.quantize import BITS
from xpm_build.bench.shapes import QWEN3_0_6B
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.adapter import SLOTS
from xpm_runtime.graph import CUDA_FILES, GRAPH_FILE, WEIGHTS

_TINY = {
    "vocab_size": 512,
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 512,
    "max_position_embeddings": 4096,
    "rope_theta": 1e4,
    "rms_norm_eps": 1e-6,
}
_SHAPES = {"tiny": _TINY, "qwen3-0.6b": QWEN3_0_6B}
_VARIANTS = (("fp16", 32), ("int4", 32))
_PROMPT_TOKENS = 128
_DECODE_TOKENS = 64
_ROWS = (1, 8, 32)
_TOLERANCE = 2e-2  # of the largest logit: float16 arithmetic over float16 weights


class Bench:
    """Models and figures, made when they are first asked for."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.figures: dict[str, Any] = {}
        self._digests: dict[str, str] = {}

    def config(self, shape: str) -> Any:
        """What the exporter reads of a configuration, whatever Transformers calls it."""
        extras = {"model_type": "qwen3", "hidden_act": "silu", "rope_scaling": None, "tie_word_embeddings": True}
        return SimpleNamespace(**_SHAPES[shape], **extras, eos_token_id=1, pad_token_id=0)

    def source(self, shape: str) -> Path:
        folder = self.work / shape
        if not (folder / "config.json").is_file():
            torch.manual_seed(0)
            config = Qwen3Config(
                **_SHAPES[shape], tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0
            )
            if shape == "tiny":
                config.initializer_range = 0.08
            AutoModelForCausalLM.from_config(config, dtype=torch.float16).save_pretrained(folder)
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
            tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    def exported(self, shape: str, variant: str, block: int) -> Path:
        """A base with only its CUDA graphs, and the tokenizer."""
        out = self.work / f"{shape}-{variant}"
        if not (out / GRAPH_FILE).is_file():
            out.mkdir(exist_ok=True)
            source, config = self.source(shape), self.config(shape)
            architecture, weights = Architecture(config), FolderCheckpoint(source)
            tensors = BaseTensors(weights, architecture, out / WEIGHTS, variant=variant, block=block)
            for kind, name in CUDA_FILES.items():
                (out / name).write_bytes(CudaGraph(tensors, kind).write().SerializeToString())
            digest = self._digests.setdefault(shape, fingerprint(weights, config))
            document = architecture.graph_document(
                base_digest=digest, variant=variant, dtype="float16", native_kv=False, eos_token_ids=[1]
            )
            (out / "tokenizer_config.json").write_text("{}")
            (out / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
            (out / GRAPH_FILE).write_text(json.dumps(document))
        return out

    def loras(self, shape: str, count: int, rank: int) -> list[Path]:
        """Random LoRAs on all linears, compiled."""
        self.exported(shape, *_VARIANTS[0])
        digest = json.loads((self.work / f"{shape}-fp16" / GRAPH_FILE).read_text())["base_digest"]
        folders = []
        for number in range(count):
            folder = self.work / f"{shape}-lora-{rank}-{number}"
            if not (folder / SLOTS).is_file():
                folder.mkdir(exist_ok=True)
                generator = torch.Generator().manual_seed(number)
                tensors = {}
                for linear in Architecture(self.config(shape)).linears():
                    for part, size in (("A", linear.num_in), ("B", linear.num_out)):
                        value = 0.02 * torch.randn(rank, size, generator=generator)
                        tensors[f"slots.{linear.name}.{part}"] = value.half()
                metadata = {"format": "xpm-slots-1", "base_digest": digest, "rank": str(rank)}
                safetensors.torch.save_file(tensors, folder / SLOTS, metadata=metadata)
            folders.append(folder)
        return folders

    def load(self, shape: str, variant: str, block: int, *, context: int = 512, lanes: int = 8) -> Engine:
        engine = Engine.load(self.exported(shape, variant, block), device="cuda", max_lanes=lanes, context=context)
        assert engine.device == "cuda", engine.device
        return engine


def _tokens(count: int, seed: int, high: int = 500) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(2, high, count)]


def _error(got: Any, wanted: Any) -> float:
    """The largest difference, as a share of the largest logit."""
    return float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max()))


# Stages


def machine(bench: Bench) -> None:
    """What is here."""
    name = torch.cuda.get_device_name()
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    for _ in range(3):
        target.copy_(source)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        target.copy_(source)
    torch.cuda.synchronize()
    bandwidth = 20 * 2 * source.nbytes / (time.perf_counter() - started)
    import transformers

    versions = {"torch": torch.__version__, "onnxruntime": ort.__version__, "transformers": transformers.__version__}
    bench.figures["machine"] = {"device": name, "copied_bytes_per_s": bandwidth, "versions": versions}
    print(bench.figures["machine"], ort.get_available_providers())


def parity(bench: Bench) -> None:
    """Base, LoRA, DoRA, IA3, a prompt and all of them beside each other: the engine against
    Transformers and PEFT in float32."""
    from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model

    source = bench.source("tiny")
    tokens = _tokens(50, 0)
    configs = {
        "lora": LoraConfig(r=8, lora_alpha=16, target_modules=list(MODULES), task_type="CAUSAL_LM"),
        "lora-2": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        "dora": LoraConfig(r=8, lora_alpha=16, use_dora=True, target_modules=list(MODULES), task_type="CAUSAL_LM"),
        "ia3": IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
        ),
        "prompt": PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
    }

    def fresh() -> Any:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()

    def logits(model: Any) -> Any:
        with torch.no_grad():
            return model(input_ids=torch.tensor([tokens])).logits[0][-len(tokens) :].numpy()

    results: dict[str, float] = {}
    for variant, block in _VARIANTS:
        with bench.load("tiny", variant, block) as engine:
            model = fresh()
            if variant in BITS:
                quantise_weights(model, bits=BITS[variant], block=block)
            results[f"{variant} base"] = _error(engine.logits(tokens), logits(model))
    with bench.load("tiny", *_VARIANTS[0]) as engine:
        config = bench.config("tiny")
        for number, (name, method) in enumerate(configs.items()):
            folder = bench.work / f"peft-{name}"
            peft = get_peft_model(fresh(), method)
            generator = torch.Generator().manual_seed(number)
            for key, parameter in peft.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if "lora_A" in key or "lora_B" in key:
                    parameter.data = 0.1 * noise
                elif "magnitude" in key:
                    parameter.data = parameter.data * (1 + 0.2 * noise)
                elif "ia3_l" in key:
                    parameter.data = 1 + 0.3 * noise
                elif "prompt_encoder" in key:
                    parameter.data = 0.3 * noise
            peft.save_pretrained(folder)
            wanted = logits(PeftModel.from_pretrained(fresh(), str(folder)).eval())
            base = fresh()
            base.config = config
            save_slots(compile_adapter(folder, adaptable(base)), folder / SLOTS, base_digest=engine.graph.base_digest)
            engine.attach(AdapterSpec.read(name, folder))
            results[f"fp16 {name}"] = _error(engine.logits(tokens, experts=[name]), wanted)
        rows: list[tuple[str, ...]] = [(), *((name,) for name in configs), ("lora", "ia3"), ("lora", "lora-2", "dora")]
        requests = [
            Request(prompt=_tokens(20 + 3 * n, n), experts=row, sampling=SamplingParams(max_tokens=24))
            for n, row in enumerate(rows)
        ]
        for length in (1, 255, 256, 257, 400):
            alone = engine.generate(_tokens(length, 9), sampling=SamplingParams(max_tokens=8))
            again = engine.generate(_tokens(length, 9), sampling=SamplingParams(max_tokens=8))
            results[f"prompt of {length}: the same twice"] = float(alone.token_ids != again.token_ids)
        together = engine.generate_batch(requests)
        alone_ids = [engine.generate(r.prompt, experts=r.experts, sampling=r.sampling).token_ids for r in requests]
        same = [result.token_ids == ids for result, ids in zip(together, alone_ids, strict=True)]
        results["rows that differ from single runs (of 8)"] = float(same.count(False))
        # A replayed step at another length than the captured one gives what a prefill of the same tokens gives.
        ids = list(engine.generate(tokens, experts=["dora"], sampling=SamplingParams(max_tokens=40)).token_ids)
        whole = engine.logits([*tokens, *ids], experts=["dora"])[len(tokens) - 1 : -1].argmax(-1)
        results["decoded tokens that a prefill would not choose (of 40)"] = float((whole != np.array(ids)).sum())
    bench.figures["parity"] = results
    for name, value in results.items():
        print(f"  {name}: {value:.2e}{'' if value <= _TOLERANCE else '   <-- !'}")


def isolation(bench: Bench) -> None:
    """An adapter of huge values does not reach its neighbour's row."""
    with bench.load("tiny", *_VARIANTS[0]) as engine:
        huge = bench.work / "huge"
        huge.mkdir(exist_ok=True)
        tensors = safetensors.torch.load_file(bench.loras("tiny", 1, 16)[0] / SLOTS)
        metadata = {"format": "xpm-slots-1", "base_digest": engine.graph.base_digest, "rank": "16"}
        big = {name: torch.full_like(tensor, 6e4) for name, tensor in tensors.items()}
        safetensors.torch.save_file(big, huge / SLOTS, metadata=metadata)
        engine.attach(AdapterSpec.read("huge", huge))
        sampling = SamplingParams(max_tokens=16)
        alone = engine.generate(_tokens(20, 1), sampling=sampling)
        rows = [Request(prompt=_tokens(20, 1), experts=each, sampling=sampling) for each in ((), ("huge",))]
        beside, wild = engine.generate_batch(rows)
        bench.figures["isolation"] = {"neighbour unchanged": alone.token_ids == beside.token_ids, "its own": wild.error}
        print(" ", bench.figures["isolation"])


def placement(bench: Bench) -> None:
    """Which nodes run where, from a profiled run of each graph at 0.6B."""
    found: dict[str, Any] = {}
    for variant, block in _VARIANTS:
        folder = bench.exported("qwen3-0.6b", variant, block)
        for kind, name in CUDA_FILES.items():
            options = ort.SessionOptions()
            options.enable_profiling = True
            options.log_severity_level = 3
            options.profile_file_prefix = str(bench.work / f"profile-{variant}-{kind}")
            session = ort.InferenceSession(
                str(folder / name), options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
            )
            feeds: dict[str, Any] = {}
            sizes = {
                "batch": 1,
                "seq": 1,
                "capacity": 64,
                "max_pos": 64,
                "num_logits": 1,
                "num_soft": 1,
                "num_scales": 2,
            }
            sizes |= {"rank1": 16, "rank2": 32, "rank3": 48}
            types = {
                "tensor(int64)": np.int64,
                "tensor(int32)": np.int32,
                "tensor(float16)": np.float16,
                "tensor(bool)": np.bool_,
            }
            for each in session.get_inputs():
                feeds[each.name] = np.zeros([sizes.get(d, d) for d in each.shape], types[each.type])
            feeds["total_sequence_length"] = np.array(1, np.int32)
            session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text())
            nodes = [e["args"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
            counts = collections.Counter(node.get("provider", "?") for node in nodes)
            on_host = collections.Counter(n["op_name"] for n in nodes if n.get("provider") == "CPUExecutionProvider")
            copies = sum("Memcpy" in node["op_name"] for node in nodes)
            found[f"{variant} {kind}"] = {"nodes": dict(counts), "on the CPU": dict(on_host), "copies": copies}
            print(f"  {variant} {kind}: {found[f'{variant} {kind}']}")
    bench.figures["placement"] = found


def speed(bench: Bench) -> None:
    """Decode at 1, 8 and 32 rows and prefill at one, with none, one and ten adapters."""
    found = bench.figures.setdefault("speed", {})
    for variant, block in _VARIANTS:
        with bench.load("qwen3-0.6b", variant, block, lanes=max(_ROWS)) as engine:
            cases: dict[str, tuple[str, ...]] = {"base": ()}
            for folder in [*bench.loras("qwen3-0.6b", 1, 16), *bench.loras("qwen3-0.6b", 10, 12)]:
                report = engine.attach(AdapterSpec.read(folder.name, folder))
            found[f"{variant} attach_ms"] = report.attach_ms
            cases["one LoRA r16"] = engine.attached[:1]
            cases["ten LoRA r12"] = engine.attached[1:]
            for case, experts in cases.items():
                for rows in _ROWS:
                    figure = _measure(engine, experts, rows)
                    found[f"{variant} {case} x{rows}"] = figure
                    print(f"  {variant} {case}, {rows} rows: {figure}")
            drawn = SamplingParams(temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.1)
            found[f"{variant} base x1 drawn"] = figure = _measure(engine, (), 1, sampling=drawn)
            print(f"  {variant} base, one row, temperature 0.7: {figure}")
            free, total = torch.cuda.mem_get_info()
            found[f"{variant} device_bytes"] = total - free


def _measure(
    engine: Engine, experts: tuple[str, ...], rows: int, *, sampling: SamplingParams | None = None
) -> dict[str, float]:
    """Tokens per second over all rows: of a step as users get it (scheduling and sampling
    included), after a warm-up."""
    sampling = replace(sampling or SamplingParams(), max_tokens=_DECODE_TOKENS + 40)
    sequences = [
        engine.submit(Request(prompt=_tokens(_PROMPT_TOKENS, row), experts=experts, sampling=sampling))
        for row in range(rows)
    ]
    started = time.perf_counter()
    while not all(sequence.is_prefilled for sequence in sequences):
        engine.step()
    first = time.perf_counter() - started
    for _ in range(8):
        engine.step()
    times = []
    for _ in range(_DECODE_TOKENS):
        started = time.perf_counter()
        engine.step()
        times.append(time.perf_counter() - started)
    running = [sequence for sequence in sequences if not sequence.is_finished]
    for sequence in sequences:
        engine.cancel(sequence)
    step = statistics.median(times)
    again = engine.submit(Request(prompt=_tokens(_PROMPT_TOKENS, 99), experts=experts, sampling=sampling))
    started = time.perf_counter()
    engine.step()
    prefill = _PROMPT_TOKENS / (time.perf_counter() - started)
    engine.cancel(again)
    return {
        "decode_tok_s": round(len(running) / step, 1),
        "step_ms": round(1e3 * step, 3),
        "first_ms": round(1e3 * first, 1),
        "prefill_tok_s": round(prefill),
    }


def peers(bench: Bench) -> None:
    """Transformers and PEFT in float16 with a static cache, replayed as a CUDA graph where that works."""
    from peft import LoraConfig, get_peft_model
    from transformers import StaticCache

    found = bench.figures.setdefault("transformers", {})
    for case, ranks in {"base": (), "one LoRA r16": (16,), "ten LoRA r12": (12,) * 10}.items():
        model = AutoModelForCausalLM.from_pretrained(bench.source("qwen3-0.6b"), dtype=torch.float16).cuda().eval()
        config = model.config
        for number, rank in enumerate(ranks):
            lora = LoraConfig(
                r=rank, lora_alpha=rank, target_modules=list(MODULES), task_type="CAUSAL_LM", init_lora_weights=False
            )
            if number == 0:
                model = get_peft_model(model, lora, adapter_name="0")
            else:
                model.add_adapter(str(number), lora)
        if ranks:
            model.base_model.set_adapter([str(number) for number in range(len(ranks))])
            model = model.half()
        for rows in _ROWS:
            cache = StaticCache(
                config=config, max_batch_size=rows, max_cache_len=512, device="cuda", dtype=torch.float16
            )
            with torch.no_grad():
                ids = torch.randint(2, 500, (rows, _PROMPT_TOKENS), device="cuda")
                model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                token = ids[:, :1].clone()

                def step(model: Any = model, token: Any = token, cache: Any = cache) -> Any:
                    return model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits

                ways: dict[str, Callable[[], Any]] = {"eager": step}
                try:
                    side = torch.cuda.Stream()
                    with torch.cuda.stream(side):
                        for _ in range(3):
                            step()
                    torch.cuda.synchronize()
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        out = step()

                    def replay(graph: Any = graph, out: Any = out) -> Any:
                        graph.replay()
                        return out

                    ways["graph"] = replay
                except RuntimeError as error:
                    print("  no CUDA graph of Transformers:", str(error)[:100])
                    torch.cuda.synchronize()
                for way, run in ways.items():
                    times = []
                    for _ in range(30):
                        started = time.perf_counter()
                        run()[:, -1].argmax(-1).cpu()
                        times.append(time.perf_counter() - started)
                    value = statistics.median(times)
                    found[f"{case} x{rows} {way}"] = {
                        "decode_tok_s": round(rows / value, 1),
                        "step_ms": round(1e3 * value, 3),
                    }
                    print(f"  {case}, {rows} rows, {way}: {found[f'{case} x{rows} {way}']}")
        del model
        torch.cuda.empty_cache()


def memory(bench: Bench) -> None:
    """500 requests, adapters attached and detached between: the device's memory stays."""
    with bench.load("tiny", *_VARIANTS[0]) as engine:
        folders = bench.loras("tiny", 4, 16)
        marks = []
        for number in range(500):
            name = f"e{number}"
            engine.attach(AdapterSpec.read(name, folders[number % 4]))
            engine.generate(_tokens(30, number), experts=[name], sampling=SamplingParams(max_tokens=4))
            engine.detach(name)
            if number % 100 == 99:
                free, total = torch.cuda.mem_get_info()
                marks.append(total - free)
        bench.figures["memory_bytes"] = marks
        print("  device bytes after 100, 200 … requests:", marks)


STAGES: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "parity": parity,
    "isolation": isolation,
    "placement": placement,
    "speed": speed,
    "peers": peers,
    "memory": memory,
}


@contextmanager
def _stage(bench: Bench, name: str) -> Iterator[None]:
    print(f"[{name}]", flush=True)
    started = time.perf_counter()
    try:
        yield
    except Exception as error:  # a stage that fails must not take the others' figures along
        traceback.print_exc()
        bench.figures.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"[:500]
    print(f"[{name}: {time.perf_counter() - started:.0f} s]", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m xpm_build.bench.gpu")
    parser.add_argument("stages", nargs="*", default=[], help=f"of {', '.join(STAGES)}; all if none is named")
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--work", type=Path, default=None, help="keeps the models for another run")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="xpm-gpu-") as scratch:
        work = chosen.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(work)
        for name in chosen.stages or STAGES:
            with _stage(bench, name):
                STAGES[name](bench)
            (chosen.out / "gpu.json").write_text(json.dumps(bench.figures, indent=2) + "\n")
    return 1 if bench.figures.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
