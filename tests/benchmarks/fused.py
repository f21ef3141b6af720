"""Two experts composed beside the same two fused: attaching, and decoding on a base in 4 bits, interleaved.

    python -m tests.benchmarks.fused MODEL [--graph FOLDER] [--rounds 7]

MODEL is a Hugging Face folder whose configuration is read; its base is exported in int4 unless --graph has
it. The experts are random LoRA of rank 16: speed does not depend on what they learned. Prints medians, and
ratios to the two composed.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.benchmarks.expert_files import random_adapter
from xpm_build.adapter.compile import save_slots
from xpm_build.base.configuration import read_configuration
from xpm_build.base.export import export_base
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.graph import GraphSpec

_TOKENS = 64
_RANKS = {"first": 16, "second": 16, "fused-32": 32, "fused-16": 16}
_COMPOSITIONS = {
    "the base alone": (),
    "one expert of rank 16": ("first",),
    "two of rank 16, composed": ("first", "second"),
    "fused, rank 32 (exact)": ("fused-32",),
    "fused, rank 16": ("fused-16",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        graph = options.graph or Path(scratch) / "graph"
        if not options.graph:
            export_base(options.model, graph, variant="int4")
        digest, config = GraphSpec.read(graph).base_digest, read_configuration(options.model)
        with Engine.load(graph, device="cpu", max_lanes=2, context=256) as engine:
            attach_ms: dict[str, list[float]] = {name: [] for name in _RANKS}
            for name, rank in _RANKS.items():
                adapter = random_adapter(config, rank)
                for number in range(options.rounds):
                    path = Path(scratch) / f"{name}-{number}.safetensors"  # what was loaded before would be kept
                    save_slots(adapter, path, base_digest=digest, storage="float16")
                    if number:
                        engine.detach(name)
                    started = time.perf_counter()
                    engine.attach(AdapterSpec.read(name, path))
                    attach_ms[name].append(1e3 * (time.perf_counter() - started))
            rates: dict[str, list[float]] = {name: [] for name in _COMPOSITIONS}
            for number in range(options.rounds + 1):
                for name, experts in _COMPOSITIONS.items():
                    rate = _tokens_per_s(engine, experts)
                    if number:  # the first round warms up
                        rates[name].append(rate)
        attach = {name: statistics.median(each) for name, each in attach_ms.items()}
        print(f"attach: 2 of rank 16 {attach['first'] + attach['second']:.1f} ms, ", end="")
        print(f"fused rank 32 {attach['fused-32']:.1f} ms, fused rank 16 {attach['fused-16']:.1f} ms")
        print("\n| acting | tokens/s | of two composed |\n|---|---|---|")
        composed = rates["two of rank 16, composed"]
        for name, each in rates.items():
            ratio = statistics.median(one / two for one, two in zip(each, composed, strict=True))
            print(f"| {name} | {statistics.median(each):.1f} | {ratio:.2f} |")


def _tokens_per_s(engine: Engine, experts: tuple[str, ...]) -> float:
    """Decode steps of one row; an answer that ends early is followed by another."""
    count, elapsed, seed = 0, 0.0, 0
    while count < _TOKENS:
        seed += 1
        sampling = SamplingParams(max_tokens=_TOKENS - count + 1, temperature=1.0, seed=seed)
        sequence = engine.submit(Request(prompt=[5, 6, 7, 8], experts=experts, sampling=sampling))
        engine.step()  # the prompt
        started = time.perf_counter()
        while not sequence.is_finished:
            engine.step()
            count += 1
        elapsed += time.perf_counter() - started
    return count / elapsed


if __name__ == "__main__":
    main()
