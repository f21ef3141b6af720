"""Whether the passages that ``xpm run --context-file`` keeps hold what answers a question: by budget,
and by how they are ranked.

    python -m tests.benchmarks.passages [--base FOLDER] [--embedder FOLDER]

Two sets of 24 questions (``passages.json``), each with the words by which its answer is known, which were written
before anything was tuned: of Python's language reference, as ``pydoc_data`` of the interpreter has it, and of this
project's pages. FOLDER is an exported base, whose tokenizer counts, and an embedder that ``xpm build embedder`` made.
"""

import argparse
import json
import pydoc_data.topics
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from xpm_runtime.embedder import Embedder
from xpm_runtime.passages import choose as choosing
from xpm_runtime.passages.choose import Document, choose
from xpm_runtime.passages.rank import Encoder, Floats
from xpm_runtime.router.vectors import own_vectors

_DOCS = Path(__file__).parents[2] / "docs"
_PAGES = ("explanation/security", "explanation/serving", "explanation/routing", "reference/benchmarks")
_TOPICS = ("specialnames", "compound", "types", "formatstrings")
BUDGETS = (256, 512, 1024, 2048)
Shown = Callable[[str, int], str]


class Remembering:
    """An encoder that is asked for each text once; ``ms`` is what that took."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._known = encoder, dict[str, Floats]()
        self.ms = 0.0

    def embed(self, texts: Sequence[str]) -> Floats:
        new = [each for each in texts if each not in self._known]
        if new:
            started = time.perf_counter()
            self._known.update(zip(new, self._encoder.embed(new), strict=True))
            self.ms += 1e3 * (time.perf_counter() - started)
        return np.stack([self._known[each] for each in texts])

    def __len__(self) -> int:
        return len(self._known)


class Alone:
    """Makes the vector of the question where that of `?` is asked for: then words say
    nothing, and vectors alone rank."""

    def __init__(self, encoder: Encoder, question: str) -> None:
        self._encoder, self._question = encoder, question

    def embed(self, texts: Sequence[str]) -> Floats:
        return self._encoder.embed([self._question if each == "?" else each for each in texts])


def documents() -> dict[str, list[Document]]:
    """Each set's documents."""
    pages = [Document(name=f"{each}.md", text=(_DOCS / f"{each}.md").read_text(encoding="utf-8")) for each in _PAGES]
    pages.append(Document(name="CHANGELOG.md", text=(_DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")))
    topics = [Document(name=f"{each}.txt", text=pydoc_data.topics.topics[each]) for each in _TOPICS]
    return {"python": topics, "project": pages}


def plain(text: str) -> str:
    return " ".join(text.split())


def measure(base: Path, embedder: Path | None, sizes: Sequence[int]) -> None:
    """Print a table for each set."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))

    @cache
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    vectors: dict[str, Remembering] = {"the router's word vectors": Remembering(own_vectors())}
    if embedder is not None:
        vectors["the encoder"] = Remembering(Embedder.load(embedder))
    questions = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    for name, docs in documents().items():
        whole = "\n\n".join(f"{each.name}:\n{each.text}" for each in docs)
        for question, answer in questions[name]:
            assert plain(answer) in plain(whole), f"{question}: its answer is not there any more"
        print(f"\n{name}: {len(docs)} documents, {count(whole):,} tokens, {len(questions[name])} questions\n")
        print(f"| kept by | passages of | {' | '.join(f'{each:,} tokens' for each in BUDGETS)} |")
        print("|---" * (len(BUDGETS) + 2) + "|")
        ids = tokenizer.encode(whole, add_special_tokens=False).ids
        _row("the first tokens", "", questions[name], partial(_first, tokenizer, ids))
        _row("the last tokens", "", questions[name], partial(_last, tokenizer, ids))
        for size in sizes:
            cases: dict[str, Shown] = {"BM25": _chosen(docs, count, size, None)}
            for title, encoder in vectors.items():
                cases[f"{title} alone"] = _by_vectors(docs, count, size, encoder)
                cases[f"BM25 and {title}"] = _chosen(docs, count, size, encoder)
            for title, shown in cases.items():
                _row(title, str(size), questions[name], shown)
    print()
    for title, encoder in vectors.items():
        print(f"{title}: {encoder.ms / len(encoder):.1f} ms for each of {len(encoder)} texts")


def _first(tokenizer: Tokenizer, ids: Sequence[int], question: str, budget: int) -> str:
    return str(tokenizer.decode(list(ids[:budget])))


def _last(tokenizer: Tokenizer, ids: Sequence[int], question: str, budget: int) -> str:
    return str(tokenizer.decode(list(ids[-budget:])))


def _chosen(docs: Sequence[Document], count: Callable[[str], int], size: int, encoder: Encoder | None) -> Shown:
    def shown(question: str, budget: int) -> str:
        return choose(docs, question, budget=budget, count=count, encoder=encoder, passage_tokens=size).text

    return shown


def _by_vectors(docs: Sequence[Document], count: Callable[[str], int], size: int, encoder: Encoder) -> Shown:
    def shown(question: str, budget: int) -> str:
        alone = Alone(encoder, question)
        return choose(docs, "?", budget=budget, count=count, encoder=alone, passage_tokens=size).text

    return shown


def _row(title: str, size: str, questions: Sequence[tuple[str, str]], shown: Shown) -> None:
    shares = []
    for budget in BUDGETS:
        right = sum(plain(answer) in plain(shown(question, budget)) for question, answer in questions)
        shares.append(f"{right / len(questions):.0%}")
    print(f"| {title} | {size} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--embedder", type=Path)
    parser.add_argument("--size", type=int, action="append", help="tokens of a passage; repeatable")
    given = parser.parse_args()
    measure(given.base, given.embedder, given.size or [choosing.PASSAGE_TOKENS])
