"""Speculative decoding beside plain decoding, and a grammar's jump-ahead beside one token at a time, on one base.

    python -m tests.benchmarks.speculation BASE [--rounds 5] [--tokens 128] [--kernels native]

BASE is the folder of an exported base that follows instructions. Each prompt is answered in turn with and without;
printed are, for each kind of work, the guesses that were right, whether the tokens are the same, and how many times
as fast decoding was (the median of the rounds' ratios). Then what a run of several tokens costs beside a run of
one, without anything drawn.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from unittest.mock import patch

from xpm_runtime import Engine, Grammar, Request, SamplingParams
from xpm_runtime.guide import Guide
from xpm_runtime.sequence import GenerationResult

_TEXT = (
    "The harbour opens at six in the morning. Boats that carry fish go to the north pier, boats that carry timber go "
    "to the south pier, and all others wait outside until the harbour master calls them by radio."
)
_RECORD = (
    '{"name": "Alice Johnson", "age": 30, "email": "alice.johnson@example.com", "address": {"street": "12 Main '
    'Street", '
    '"city": "Springfield", "zip": "12345"}, "tags": ["admin", "editor", "reviewer"]}'
)
_STRING = {"type": "string", "maxLength": 60}
_SCHEMA = {
    "type": "object",
    "properties": {
        "name": _STRING,
        "age": {"type": "integer"},
        "email": _STRING,
        "address": {
            "type": "object",
            "properties": {"street": _STRING, "city": _STRING, "zip": _STRING},
            "required": ["street", "city", "zip"],
            "additionalProperties": False,
        },
        "tags": {"type": "array", "items": _STRING, "maxItems": 3},
    },
    "required": ["name", "age", "email", "address", "tags"],
    "additionalProperties": False,
}
_OBJECT = Grammar.of_schema(_SCHEMA)
WORK: dict[str, list[tuple[str, Grammar | None]]] = {
    "copying a text": [
        (f"Repeat this text exactly, word for word:\n\n{_TEXT}", None),
        (f"Write this text again with 'boats' replaced by 'ships', and nothing else changed:\n\n{_TEXT}", None),
    ],
    "editing JSON under its schema": [
        (f'Return this JSON with "age" changed to 31, and nothing else changed:\n{_RECORD}', _OBJECT),
        (f'Return this JSON with "city" changed to "Oslo", and nothing else changed:\n{_RECORD}', _OBJECT),
    ],
    "new JSON under a schema": [
        ("Invent a person, as a JSON object with name, age, email, address and tags.", _OBJECT),
        ("Write a customer's record as JSON. She is called Mary Smith, is 44 and lives in Leeds.", _OBJECT),
    ],
    "prose": [("Why is the sky blue?", None), ("Tell me a short story about a lighthouse.", None)],
}
Way = Callable[[], GenerationResult]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--costs-only", action="store_true", help="for random weights, which copy nothing")
    options = parser.parse_args()
    with Engine.load(options.base, device="cpu", max_lanes=1, context=1024, kernels=options.kernels) as engine:
        print(f"{options.base.name}, {engine.kernels} kernels")
        for title, work in WORK.items() if not options.costs_only else ():
            print(compared(engine, title, work, options.rounds, options.tokens), flush=True)
        for title in ("editing JSON under its schema", "new JSON under a schema") if not options.costs_only else ():
            print(jumped(engine, title, options.rounds, options.tokens), flush=True)
        print(costs(engine, options.rounds))


def compared(engine: Engine, title: str, work: list[tuple[str, Grammar | None]], rounds: int, tokens: int) -> str:
    """A line about one kind of work, greedily and drawn."""
    parts = []
    for temperature in (0.0, 0.8):
        ratios, same, written, drafted, accepted = [], True, 0, 0, 0
        for number in range(rounds):
            took = [0.0, 0.0]
            for prompt, grammar in work:
                results: dict[int, GenerationResult] = {}
                for way in (0, 1) if number % 2 else (1, 0):
                    sampling = SamplingParams(
                        max_tokens=tokens,
                        temperature=temperature,
                        seed=number,
                        grammar=grammar,
                        speculative="ngram" if way else None,
                    )
                    results[way] = engine.generate_batch([Request(prompt=prompt, sampling=sampling)])[0]
                    took[way] += results[way].decode_ms
                same &= results[0].token_ids == results[1].token_ids
                written += len(results[1].token_ids)
                drafted, accepted = drafted + results[1].num_drafted, accepted + results[1].num_accepted
            ratios.append(took[0] / took[1])
        parts.append(
            f"temperature {temperature}: {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), {accepted} of {drafted} guesses right in {written} tokens, "
            f"{'the same tokens' if same else 'other tokens'}"
        )
    return f"{title}: " + "; ".join(parts)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A grammar's forced tokens are drawn like any other."""
    with patch.object(Guide, "write", partialmethod(Guide.write, is_alone=True)):
        yield


def jumped(engine: Engine, title: str, rounds: int, tokens: int) -> str:
    ratios, fewer = [], []
    for _ in range(rounds):
        took = [0.0, 0.0]
        for prompt, grammar in WORK[title]:
            sampling = SamplingParams(max_tokens=tokens, grammar=grammar)
            with _one_at_a_time():
                slow = engine.generate(prompt, sampling=sampling)
            fast = engine.generate(prompt, sampling=sampling)
            took = [took[0] + slow.decode_ms / len(slow.token_ids), took[1] + fast.decode_ms / len(fast.token_ids)]
            fewer.append(slow.token_ids == fast.token_ids)
        ratios.append(took[0] / took[1])
    return (
        f"{title}, jump-ahead beside one token at a time: {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f}); {sum(fewer)} of {len(fewer)} texts the same"
    )


def costs(engine: Engine, rounds: int) -> str:
    """The least time of a run of several tokens behind 256, in least times of a run of one."""
    sizes, least = (1, 2, 3, 4, 8, 16, 32), {}
    runner, pack = engine._runner, engine._packs.current
    ids = [5 + 7 * place % 200 for place in range(256)]
    runner.prefill(ids, lane=0, start=0, pack=pack, acting=())
    for _ in range(4 * rounds):
        for size in sizes:
            started = time.perf_counter()
            runner.prefill(ids[:size], lane=0, start=256, pack=pack, acting=(), every=True)
            least[size] = min(least.get(size, 1e9), time.perf_counter() - started)
    return "costs: " + ", ".join(f"{size} tokens {least[size] / least[1]:.2f}" for size in sizes[1:])


if __name__ == "__main__":
    main()
