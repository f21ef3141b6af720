"""Throughput through HTTP: beside the engine without it, and beside llama.cpp's server with as many LoRAs.

    python -m tests.benchmarks.http MODEL.gguf [--work .bench] [--experts 1 8 64] [--llama-server PATH]

As many clients as `--clients` says each ask, one request after the other, with random prompts of 64 tokens for 48 more,
whatever the model would end at; request number n is for expert n of as many as `--experts` says, round and round, so
that what runs together has different experts. Each request has a connection of its own: llama.cpp's server closes those
that were used a few times. Both servers run eight rows at once. In turns, so that all see the same machine.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from xpm.engine import open_engine
from xpm_build.bench.material import Material, real_material
from xpm_index.archive import MANIFEST
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.composition import MAX_EXPERTS

LANES, PROMPT, TOKENS = 8, 64, 48
FIRST_PROMPT, FIRSTS = 8, 40  # where little is computed, what HTTP adds is seen
_WAIT_S = 120


@dataclass(frozen=True, slots=True)
class Peer:
    """A server, and how it is asked for a number of tokens by an expert."""

    name: str
    url: str
    body: Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--experts", type=int, nargs="+", default=[8], help="0 for the base alone")
    parser.add_argument("--clients", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-server", type=Path)
    options = parser.parse_args()
    material = real_material(options.work, options.model, peers=["llama.cpp"], report=print)
    for experts in options.experts:
        print(f"{experts} experts", flush=True)
        with tempfile.TemporaryDirectory(prefix="xpm-http-") as place:
            _install(Path(place), material, experts)
            for number in range(options.rounds):
                _measure(Path(place), material, experts, options, number)


def _measure(folder: Path, material: Material, experts: int, options: Any, number: int) -> None:
    """One round: the engine, then each server."""
    os.environ["XPM_HOME"] = str(folder / "home")
    with open_engine(folder=folder, max_lanes=LANES, threads=os.cpu_count()) as engine:
        for path in _more(folder, experts):
            engine.attach(AdapterSpec.read(path.name, path))
        end_ids = engine.graph.eos_token_ids
        rate, first_ms = _alone(engine, experts, number, material.vocab_size)
        print(f"engine alone: {rate:.1f} tokens/s; something comes after {first_ms:.1f} ms", flush=True)
    for peer in _servers(folder, material, experts, options.llama_server, end_ids):
        first_ms = asyncio.run(_first_ms(peer, number, material.vocab_size))
        for clients in options.clients:
            rate = asyncio.run(_rate(peer, clients, experts, number, material.vocab_size))
            print(f"{peer.name}, {clients} clients: {rate:.1f} tokens/s; something after {first_ms:.1f} ms", flush=True)


def _adapter(material: Material, number: int) -> Path:
    """A file for each expert; where there are fewer files than experts, several of the same."""
    folders = sorted((material.root / "adapters").iterdir())
    return folders[number % min(len(folders), MAX_EXPERTS)]


def _install(folder: Path, material: Material, experts: int) -> None:
    """Install the experts; those that are more than a project holds are copies, named by path."""
    xpm = [sys.executable, "-m", "xpm"]
    env = {**os.environ, "XPM_HOME": str(folder / "home")}
    commands = [["init"], ["base", "add", str(material.gguf_base.resolve())]]
    commands += [
        ["install", str(_adapter(material, number).resolve()), "--name", f"lora-{number}"]
        for number in range(min(experts, MAX_EXPERTS))
    ]
    for command in commands:
        subprocess.run([*xpm, *command], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    for number in range(MAX_EXPERTS, experts):
        asked = [*xpm, "path", f"lora-{number % MAX_EXPERTS}"]
        installed = subprocess.run(asked, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True)
        copy = folder / "more" / f"lora-{number}"
        shutil.copytree(installed.stdout.strip(), copy)
        manifest = json.loads((copy / MANIFEST).read_text())
        (copy / MANIFEST).chmod(0o644)
        (copy / MANIFEST).write_text(json.dumps({**manifest, "name": copy.name}))


def _more(folder: Path, experts: int) -> list[Path]:
    return [folder / "more" / f"lora-{number}" for number in range(MAX_EXPERTS, experts)]


def _ids(number: int, seed: int, vocab_size: int, count: int = PROMPT) -> list[int]:
    return [int(each) for each in np.random.default_rng((number, seed)).integers(100, vocab_size, count)]


def _alone(engine: Engine, experts: int, seed: int, vocab_size: int) -> tuple[float, float]:
    """(tokens a second of 32 requests in one batch, milliseconds until something comes of one alone)."""
    bias = dict.fromkeys(engine.graph.eos_token_ids, -100.0)
    sampling = SamplingParams(max_tokens=TOKENS, logit_bias=bias)

    def request(number: int, count: int = PROMPT) -> Request:
        acting = (f"lora-{number % experts}",) if experts else ()
        return Request(prompt=_ids(number, seed, vocab_size, count), experts=acting, sampling=sampling)

    engine.generate_batch([request(900 + number) for number in range(LANES)])  # everything is there once
    started = time.perf_counter()
    count = sum(len(each.token_ids) for each in engine.generate_batch([request(number) for number in range(32)]))
    rate = count / (time.perf_counter() - started)
    firsts = []
    for number in range(FIRSTS):
        asked = request(experts * (100 + number), FIRST_PROMPT)
        started = time.perf_counter()
        stream = engine.stream(asked.prompt, experts=asked.experts, sampling=replace(sampling, max_tokens=2))
        next(stream)
        firsts.append(1e3 * (time.perf_counter() - started))
        list(stream)
    return rate, statistics.median(firsts)


def _servers(folder: Path, material: Material, experts: int, llama_server: Path | None, end_ids: Any) -> Iterator[Peer]:
    env = {**os.environ, "XPM_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "xpm", "serve", "--port", "8791", "--max-lanes", str(LANES)]
    names = [*(f"lora-{number}" for number in range(min(experts, MAX_EXPERTS))), *map(str, _more(folder, experts))]
    command += [part for name in names for part in ("-e", name)]

    def for_xpm(ids: list[int], expert: int) -> dict[str, Any]:
        bias = {str(each): -100 for each in end_ids}
        return {"model": f"lora-{expert}" if experts else "base", "prompt": ids, "logit_bias": bias}

    with _process([*command, "--threads", str(os.cpu_count())], folder, env, "http://127.0.0.1:8791/ready"):
        yield Peer("xpm serve", "http://127.0.0.1:8791", for_xpm)
    if llama_server is None:
        return
    loras = [str(material.lora_gguf(_adapter(material, each)).resolve()) for each in range(experts)]
    command = [
        str(llama_server.resolve()),
        "-m",
        str(material.gguf_base.resolve()),
        "--port",
        "8792",
        "-np",
        str(LANES),
    ]
    command += ["-c", str(LANES * 512), "-t", str(os.cpu_count()), "--lora-init-without-apply", "--no-webui"]
    command += [part for each in loras for part in ("--lora", each)]

    def for_llama(ids: list[int], expert: int) -> dict[str, Any]:
        chosen = [{"id": each, "scale": float(each == expert)} for each in range(experts)]
        return {"model": "any", "prompt": ids, "ignore_eos": True, "cache_prompt": False, "lora": chosen}

    with _process(command, folder, env, "http://127.0.0.1:8792/health"):
        yield Peer("llama.cpp's server", "http://127.0.0.1:8792", for_llama)


@contextmanager
def _process(command: list[str], folder: Path, env: dict[str, str], ready: str) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=env, stdout=quiet, stderr=quiet) as process:
        try:
            deadline = time.monotonic() + _WAIT_S
            while True:
                try:
                    if httpx.get(ready).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


async def _rate(peer: Peer, clients: int, experts: int, seed: int, vocab_size: int) -> float:
    """Tokens a second of so many clients, each with a few requests one after the other."""
    each = max(2, 64 // clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=peer.url, timeout=600, limits=limits) as client:

        async def ask(number: int) -> int:
            body = peer.body(_ids(number, 1000 + seed, vocab_size), number % max(1, experts))
            reply = await client.post("/v1/completions", json={**body, "max_tokens": TOKENS, "temperature": 0})
            reply.raise_for_status()
            return int(reply.json()["usage"]["completion_tokens"])

        async def one(first: int) -> int:
            return sum([await ask(first + clients * number) for number in range(each)])

        await asyncio.gather(*(ask(5000 + number) for number in range(min(clients, LANES))))
        started = time.perf_counter()
        count = sum(await asyncio.gather(*(one(number) for number in range(clients))))
        return count / (time.perf_counter() - started)


async def _first_ms(peer: Peer, seed: int, vocab_size: int) -> float:
    """Milliseconds until something comes of a stream, of one client alone; the median of many."""
    found = []
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=peer.url, timeout=600, limits=limits) as client:
        for number in range(FIRSTS):
            body = peer.body(_ids(7000 + number, seed, vocab_size, FIRST_PROMPT), 0)
            asked = {**body, "max_tokens": 2, "temperature": 0, "stream": True}
            started = time.perf_counter()
            async with client.stream("POST", "/v1/completions", json=asked) as reply:
                lines = reply.aiter_lines()
                await anext(lines)
                found.append(1e3 * (time.perf_counter() - started))
                async for _ in lines:  # or the next request would be beside the rest of this one
                    pass
    return statistics.median(found)


if __name__ == "__main__":
    main()
