"""What llama.cpp makes of the same file: asked once, and kept, so that a comparison needs no compiler.

`make real RECORD=yes` asks anew. A record says of which file, texts and questions it is; of others it is refused.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.quality import perplexity
from xpm_build.bench.real.texts import PROMPTS, QUESTIONS, sample_texts
from xpm_build.errors import BuildError
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_runtime.text import Message, TextCodec

RECORD = Path(__file__).with_name("llama_cpp.json")
NUM_TOKENS = 24  # of an answer
_CONTEXT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """``ids`` has a digest for each text's ids; ``answers`` and ``answered`` hold the greedy tokens
    of prompts and questions."""

    version: str
    file: str
    material: str
    ids: list[str]
    answers: list[list[int]]
    answered: list[list[int]]
    perplexity: float


def digest_of(ids: Sequence[int]) -> str:
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:12]


def material(rows: NDArray[np.int64]) -> str:
    """The digest of what is asked: texts, prompts, questions, and the ids (sequences, tokens)
    whose perplexity is compared."""
    return sha256_bytes(json.dumps([sample_texts(), PROMPTS, QUESTIONS, NUM_TOKENS, rows.tolist()]).encode())


def read_record(gguf: Path, rows: NDArray[np.int64]) -> Record:
    """What was recorded; raises BuildError if that is of another file or of other questions."""
    record = Record(**json.loads(RECORD.read_text(encoding="utf-8")))
    for found, wanted, what in (
        (sha256_file(gguf), record.file, "file"),
        (material(rows), record.material, "material"),
    ):
        if found != wanted:
            raise BuildError(
                f"llama.cpp's answers were recorded for another {what}",
                context=f"recorded {wanted}, here {found}",
                hint="record them anew: make real RECORD=yes",
            )
    return record


def make_record(gguf: Path, codec: TextCodec, ends: Sequence[int], rows: NDArray[np.int64]) -> Record:
    """Ask llama.cpp everything, and write it down.

    Args:
        ends: the tokens that end an answer.
        rows: (sequences, tokens) whose perplexity is wanted.
    """
    import llama_cpp

    peer = llama_cpp.Llama(str(gguf), n_ctx=_CONTEXT, n_batch=_CONTEXT, logits_all=True, verbose=False, seed=0)
    record = Record(
        version=f"llama-cpp-python {llama_cpp.__version__}",
        file=sha256_file(gguf),
        material=material(rows),
        ids=[digest_of(peer.tokenize(text.encode(), add_bos=False, special=True)) for text in sample_texts()],
        answers=[_answer(peer, codec.encode_chat([Message("user", prompt)]), ends) for prompt in PROMPTS],
        answered=[_answer(peer, codec.encode_chat([Message("user", question)]), ends) for question, _ in QUESTIONS],
        perplexity=round(perplexity(np.stack([_logits(peer, list(map(int, row))) for row in rows]), rows), 4),
    )
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in asdict(record).items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return record


def _answer(peer: Any, ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    answer: list[int] = []
    logits = _logits(peer, list(ids))[-1]
    while len(answer) < NUM_TOKENS:
        token = int(logits.argmax())
        answer.append(token)
        if token in ends:
            break
        peer.eval([token])
        logits = peer.scores[peer.n_tokens - 1]
    return answer


def _logits(peer: Any, ids: list[int]) -> NDArray[np.float32]:
    peer.reset()
    peer.eval(ids)
    return np.array(peer.scores[: len(ids)])
