"""Rounds in which each program takes its turn, so that what the machine does meanwhile falls on all alike."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xpm_build.bench.bounds import matmul_rate, memory_bandwidth
from xpm_build.bench.material import CASES, VARIANTS, Material, Report
from xpm_build.bench.peers import PROGRAMS, Program, reads_gguf
from xpm_build.errors import BuildError
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.graph import WEIGHTS

DRAWN = "xpm int4/128, drawing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A program as it takes part; ``program`` None is xpm, which runs ``variant`` with ``options``."""

    name: str
    program: Program | None = None
    variant: tuple[str, int] = VARIANTS[0]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Measured:
    """Milliseconds of one program in one case: one entry per round."""

    prefill_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Results:
    """``measured[case][program]``; rates per second; ``together`` is eight compositions at once
    beside one at a time, tokens/s."""

    model: str
    prompt_tokens: int
    decode_tokens: int
    machine: dict[str, Any]
    bandwidth: list[float] = field(default_factory=list)
    matmul: list[float] = field(default_factory=list)
    measured: dict[str, dict[str, Measured]] = field(default_factory=dict)
    together: dict[str, list[float]] = field(default_factory=dict)
    weight_bytes: dict[str, int] = field(default_factory=dict)


def entrants(peers: Sequence[str]) -> list[Entrant]:
    """xpm in its variants, then the named programs."""
    ours = [
        Entrant(name="xpm int4/128"),
        Entrant(name=DRAWN, options={"draws": True}),
        Entrant(name="xpm int4/32", variant=VARIANTS[1]),
        Entrant(name="xpm int4/128 portable", options={"kernels": "portable"}),
    ]
    return ours + [Entrant(name=each.title, program=each) for each in PROGRAMS if each.name in peers]


def available_peers() -> list[str]:
    """The programs that are installed here."""
    return [each.name for each in PROGRAMS if each.is_installed]


def run_speed(
    material: Material,
    *,
    rounds: int,
    prompt_tokens: int,
    decode_tokens: int,
    peers: Sequence[str],
    threads: int,
    report: Report,
) -> Results:
    """Measure every case; raises BuildError if a program fails."""
    results = Results(
        model=material.title, prompt_tokens=prompt_tokens, decode_tokens=decode_tokens, machine=_machine(threads, peers)
    )
    for variant, block in VARIANTS:
        data = material.exported(variant, block) / WEIGHTS
        results.weight_bytes[f"xpm {variant}/{block}"] = data.stat().st_size
    if reads_gguf(peers):
        results.weight_bytes |= dict.fromkeys(("llama.cpp", "ik_llama.cpp"), material.gguf_base.stat().st_size)
    is_small = sum(results.weight_bytes.values()) < 1 << 24
    size = 1 << (22 if is_small else 30)
    for case in CASES:
        results.measured[case] = {}
        with _running(material, case, entrants(peers), threads) as running:
            for number in range(rounds):
                report(f"{case}: round {number + 1} of {rounds}")
                results.bandwidth.append(memory_bandwidth(num_bytes=size, threads=threads))
                results.matmul.append(matmul_rate(size=128 if is_small else 1024, threads=threads))
                for name, ask in running.items():
                    measured = results.measured[case].setdefault(name, Measured())
                    ask("prefill", prompt_tokens)
                    measured.prefill_ms.append(min(ask("prefill", prompt_tokens)["ms"] for _ in range(2)))
                    measured.decode_ms += ask("decode", decode_tokens)["ms"][4:]
            for name, ask in running.items():
                results.measured[case][name].facts = ask("facts", 0)
    for name, kernels in (("xpm", "auto"), ("xpm portable", "portable")):
        report(f"{name}: eight compositions at once")
        results.together[name] = _together(
            material, kernels, threads, min(rounds, 3), max(8, prompt_tokens // 4), 2 * decode_tokens
        )
    return results


def _together(
    material: Material, kernels: str, threads: int, rounds: int, prompt_tokens: int, decode_tokens: int
) -> list[float]:
    """[tokens per second of eight requests with eight compositions at once, of the same one at
    a time, median of rounds]."""
    vocab_size = min(500, material.vocab_size)
    paths = [*material.adapters("one LoRA r16"), *material.adapters("ten LoRA r12")]
    pairs = zip(paths[4:10:2], paths[5:11:2], strict=True)
    compositions = [(), *((path.name,) for path in paths[:4]), *((first.name, second.name) for first, second in pairs)]
    sampling = SamplingParams(max_tokens=decode_tokens)
    rates = []
    with Engine.load(material.exported(*VARIANTS[0]), device="cpu", threads=threads, kernels=kernels) as engine:
        for path in paths:
            engine.attach(AdapterSpec.read(path.name, path))
        for number in range(rounds):
            # Different beginnings in every round and way: nothing is known already.
            ways = [
                [
                    Request(
                        prompt=_tokens(prompt_tokens, vocab_size, seed=(number, way, row)),
                        experts=experts,
                        sampling=sampling,
                    )
                    for row, experts in enumerate(compositions)
                ]
                for way in range(2)
            ]
            started = time.perf_counter()
            count = sum(len(result.token_ids) for result in engine.generate_batch(ways[0]))
            together = count / (time.perf_counter() - started)
            started = time.perf_counter()
            answers = [engine.generate(each.prompt, experts=each.experts, sampling=sampling) for each in ways[1]]
            alone = sum(len(result.token_ids) for result in answers) / (time.perf_counter() - started)
            rates.append([together, alone])
    rates.sort(key=lambda pair: pair[0] / pair[1])
    return rates[len(rates) // 2]


def _tokens(count: int, vocab_size: int, *, seed: tuple[int, ...]) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(2, vocab_size, count)]


@contextmanager
def _running(
    material: Material, case: str, entrants: Sequence[Entrant], threads: int
) -> Iterator[dict[str, Callable[[str, int], Any]]]:
    """Each program loaded and waiting; ``ask(command, tokens)`` is its answer."""
    processes: list[subprocess.Popen[str]] = []
    asks: dict[str, Callable[[str, int], Any]] = {}
    try:
        for entrant in entrants:
            program, adapters = entrant.program, material.adapters(case)
            reads = program.reads if program else "slots"
            settings = {
                "place": program.place if program else "xpm:XpmPeer",
                "model": str(material.base(reads) if program else material.exported(*entrant.variant)),
                "threads": threads,
                "adapters": [str(material.lora_gguf(path) if reads == "gguf" else path) for path in adapters],
                "options": dict(entrant.options),
                "vocab_size": min(material.vocab_size, 150_000),
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "xpm_build.bench.peers", json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
            processes.append(process)
            asks[entrant.name] = _asker(entrant.name, process)
            asks[entrant.name]("facts", 0)
        yield asks
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def _asker(name: str, process: "subprocess.Popen[str]") -> Callable[[str, int], Any]:
    def ask(command: str, tokens: int) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps({"do": command, "tokens": tokens}), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())
        except (OSError, ValueError) as error:
            raise BuildError(f"{name} failed while it was measured", context=f"it was asked to {command}") from error

    return ask


def _machine(threads: int, peers: Sequence[str]) -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    packages = ["onnxruntime-gpu", "onnxruntime", "torch", "transformers"]
    packages += [each.package for each in PROGRAMS if each.name in peers]
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ImportError:
            continue
    return {"processor": model, "threads": threads, "versions": versions}
