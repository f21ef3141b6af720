"""What it takes to hand a long prompt from one expert to another: activated LoRA beside LoRA, of the
same size, on the same base.

Run as ``python -m tests.benchmarks.handover ./graph --tokens 4096``, with a base as ``xpm build base`` exports it. The
numbers of the adapters are random, for they change no time. Both take turns; what is told is the time to the first
token after the prompt was read for another expert.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np

from xpm_build.adapter.compile import save_slots
from xpm_build.adapter.methods import CompiledAdapter
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.adapter import SLOTS
from xpm_runtime.graph import GraphSpec

_RANK = 16
_INVOCATIONS = {"first": (11, 12), "second": (13, 14)}


def _write_adapters(graph: GraphSpec, out: Path) -> None:
    """Of each kind two: ``first`` and ``second`` are plain, ``first-activated`` and
    ``second-activated`` are invoked."""
    rng = np.random.default_rng(0)
    for name, invocation in _INVOCATIONS.items():
        tensors = {}
        for linear in graph.linears:
            if not linear.only_scales:
                tensors[f"slots.{linear.name}.A"] = rng.normal(0, 0.02, (_RANK, linear.num_in)).astype(np.float32)
                tensors[f"slots.{linear.name}.B"] = rng.normal(0, 0.02, (_RANK, linear.num_out)).astype(np.float32)
        for suffix, tokens in (("", ()), ("-activated", invocation)):
            adapter = CompiledAdapter(kind="lora", rank=_RANK, tensors=tensors, invocation=tokens)
            folder = out / f"{name}{suffix}"
            folder.mkdir()
            save_slots(adapter, folder / SLOTS, base_digest=graph.base_digest, storage="float16")


def _first_token_ms(engine: Engine, prompt: list[int], expert: str) -> tuple[float, int]:
    """(ms to the first token, tokens that were not computed anew)."""
    sampling = SamplingParams(max_tokens=1, temperature=0)
    result = engine.generate_batch([Request(prompt=prompt, experts=(expert,), sampling=sampling)])[0]
    return result.prefill_ms, result.num_reused_tokens


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.handover", description="Handing a prompt over.")
    parser.add_argument("graph", type=Path, help="the folder of an exported base")
    parser.add_argument("--tokens", type=int, default=4096, help="of the prompt that both experts are asked about")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    graph = GraphSpec.read(args.graph)
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {"": [], "-activated": []}
    with (
        tempfile.TemporaryDirectory(prefix="xpm-handover-") as scratch,
        Engine.load(args.graph, device="cpu", max_lanes=1, context=args.tokens + 16) as engine,
    ):
        _write_adapters(graph, Path(scratch))
        for folder in sorted(Path(scratch).iterdir()):
            engine.attach(AdapterSpec.read(folder.name, folder))
        for number in range(args.rounds):
            for suffix, times in found.items():
                prompt = [int(each) for each in rng.integers(20, min(graph.vocab_size, 20_000), args.tokens)]
                _first_token_ms(engine, [*prompt, *_INVOCATIONS["first"]], f"first{suffix}")
                ms, reused = _first_token_ms(engine, [*prompt, *_INVOCATIONS["second"]], f"second{suffix}")
                times.append(ms)
                print(
                    f"round {number + 1}, {suffix[1:] or 'plain'}: {ms:.0f} ms, {reused} of {args.tokens} tokens known"
                )
    plain, activated = (statistics.median(times) for times in found.values())
    print(
        f"{args.tokens} tokens: {plain:.0f} ms with LoRA, {activated:.1f} ms with activated LoRA, "
        f"{plain / activated:.0f}x"
    )


if __name__ == "__main__":
    main()
