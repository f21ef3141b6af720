"""What an engine owns, for how long, and who may ask it: files that change, threads, event loops, closing, leaving."""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from tests.support import models
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, Engine, Request, RequestError, SamplingParams

PROMPT = probe_tokens(models.VOCAB_SIZE, seed=1, count=40)
SAMPLING = SamplingParams(max_tokens=6)


def load(tiny_base, **options):
    return Engine.load(tiny_base.graph, device="cpu", threads=1, context=256, **{"max_lanes": 4, **options})


def test_an_adapter_that_comes_back_is_the_one_that_was_attached(tiny_base, tiny_adapter, tmp_path):
    """Another LoRA of the same shape took its file's place while it was out of memory."""
    path = shutil.copyfile(tiny_adapter("lora", 1).slots, tmp_path / "slots.safetensors")
    with load(tiny_base) as engine:
        engine.attach(AdapterSpec.read("first", path))
        engine.attach(AdapterSpec.read("second", tiny_adapter("lora", 2).slots))
        engine._adapters._budget = engine._adapters.attached["first"].num_bytes
        engine.logits([5], experts=["second"])
        assert "first" not in engine._adapters.resident
        shutil.copyfile(tiny_adapter("lora", 3).slots, tmp_path / "new")
        os.replace(tmp_path / "new", path)
        result = engine.generate(PROMPT, experts=["first"], sampling=SAMPLING)
        assert result.finish_reason == "error"
        assert "was replaced while first was attached" in result.error
        engine.detach("first")
        engine.attach(AdapterSpec.read("first", path))
        assert engine.generate(PROMPT, experts=["first"], sampling=SAMPLING).finish_reason in ("length", "stop")


def test_a_file_that_is_cut_short_while_attached_kills_nobody(tiny_engine, tiny_adapter, tmp_path):
    path = shutil.copyfile(tiny_adapter("lora").slots, tmp_path / "slots.safetensors")
    tiny_engine.attach(AdapterSpec.read("cut", path))
    before = tiny_engine.logits(PROMPT, experts=["cut"])
    os.truncate(path, 100)
    assert np.array_equal(tiny_engine.logits(PROMPT, experts=["cut"]), before)


def test_prefixes_are_found_again_by_the_packages_digest(tiny_engine, tiny_adapter):
    path = tiny_adapter("lora").slots
    for digest, reused in (("sha256:aa", 0), ("sha256:aa", 32), ("", 0), ("", 0), ("sha256:bb", 0), ("sha256:aa", 32)):
        tiny_engine.attach(AdapterSpec.read("one", path, digest=digest))
        result = tiny_engine.generate(PROMPT, experts=["one"], sampling=SAMPLING)
        assert result.num_reused_tokens == reused, digest
        tiny_engine.detach("one")


def test_closing_frees_the_lanes_and_everything_else(tiny_base):
    engine = load(tiny_base)
    engine.generate(PROMPT, sampling=SAMPLING)
    lanes = weakref.ref(engine._lanes)
    waiting = engine.submit(Request(prompt=PROMPT))
    engine.close()
    engine.close()
    gc.collect()
    assert lanes() is None
    assert waiting.finish_reason == "cancelled"
    engine.cancel(waiting)
    for use in (lambda: engine.submit(Request(prompt=PROMPT)), engine.step, engine.memory, lambda: engine.logits([5])):
        with pytest.raises(RequestError, match="was closed"):
            use()


def test_threads_that_wait_for_a_closed_engine_are_told(tiny_base):
    for _ in range(5):
        engine, errors = load(tiny_base), []

        def work(engine=engine, errors=errors):
            try:
                while True:
                    engine.generate(PROMPT, sampling=SamplingParams(max_tokens=50))
            except Exception as error:
                errors.append(error)  # noqa: B023

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        engine.close()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        assert [type(error) for error in errors] == [RequestError] * 4, errors


def test_event_loops_of_several_threads_share_an_engine(tiny_base):
    with load(tiny_base) as engine:
        wanted = engine.generate(PROMPT, sampling=SAMPLING).token_ids
        results, errors = [], []

        def work():
            try:
                for _ in range(10):
                    results.append(asyncio.run(engine.agenerate(PROMPT, sampling=SAMPLING)).token_ids)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors
        assert results == [wanted] * 30


def test_another_engines_sequence_is_not_cancelled_here(tiny_base):
    with load(tiny_base) as first, load(tiny_base) as second:
        here, there = (engine.submit(Request(prompt=PROMPT, sampling=SAMPLING)) for engine in (first, second))
        first.step(), second.step()
        with pytest.raises(RequestError, match="not submitted to this engine"):
            second.cancel(here)
        assert not here.is_finished
        while not there.is_finished:
            second.step()
        assert first.violations() == second.violations() == []


def test_nobody_waits_while_a_prompt_is_encoded(tiny_engine, monkeypatch):
    """A template or a tokenizer that takes long does not hold the lock."""
    inside, go_on = threading.Event(), threading.Event()
    encode = type(tiny_engine._codec).encode_chat

    def slow(self, messages, **options):
        inside.set()
        assert go_on.wait(20)
        return encode(self, messages, **options)

    monkeypatch.setattr(type(tiny_engine._codec), "encode_chat", slow)
    thread = threading.Thread(target=lambda: tiny_engine.generate("abc", sampling=SAMPLING))
    thread.start()
    assert inside.wait(20)
    asked = threading.Thread(target=lambda: tiny_engine.generate(PROMPT, sampling=SAMPLING))
    asked.start()
    asked.join(20)
    assert not asked.is_alive()
    go_on.set()
    thread.join(20)


def test_the_interpreter_leaves_while_a_daemon_thread_generates(tiny_base):
    program = f"""
import sys, threading, time
from pathlib import Path
from xpm_runtime import Engine, SamplingParams
engine = Engine.load(Path({str(tiny_base.graph)!r}), device="cpu", threads=2)
def work():
    while True:
        engine.generate(list(range(5, 60)), sampling=SamplingParams(max_tokens=50))
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
sys.exit(0)
"""
    for _ in range(3):
        finished = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert finished.returncode == 0, finished.stderr[-2000:]


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_a_number_of_threads_that_no_machine_has_is_refused(threads, tiny_base):
    with pytest.raises(RequestError, match="threads must be 1 to"):
        Engine.load(tiny_base.graph, device="cpu", threads=threads)
