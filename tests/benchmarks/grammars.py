"""Random weights write under each built-in grammar; other parsers than the grammar's read it.

    python -m tests.benchmarks.grammars [--count 1000] [--grammar sql]

A base that knows nothing, at temperature 1.5, tries what a trained one would never write. Prints, for each
grammar, how many answers there were, how many ended within their tokens, how many parsed, and what masks and
the search for an end cost.
"""

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.models import save_tiny_model
from xpm_build.base.export import export_base
from xpm_build.judges import cypher, sql
from xpm_runtime import Engine, Request, SamplingParams
from xpm_runtime.grammars import BUILT_IN, built_in

_LANES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--grammar", choices=list(BUILT_IN), action="append", help="by default all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        export_base(save_tiny_model(folder / "source"), folder / "graph")
        with Engine.load(folder / "graph", device="cpu", threads=1, max_lanes=_LANES, context=256) as engine:
            for name in options.grammar or BUILT_IN:
                print(judged(engine, name, options.count), flush=True)


def judged(engine: Engine, name: str, count: int) -> str:
    started = time.perf_counter()
    requests = [
        Request(prompt=[1 + seed % 250, 7], sampling=sampling(name, seed, max_tokens=24 + seed % 200))
        for seed in range(count)
    ]
    results = engine.generate_batch(requests)
    elapsed = time.perf_counter() - started
    num_tokens = sum(len(each.token_ids) for each in results)
    unfinished = [each for each in results if each.missing is not None or each.error]
    wrong = [problem for each in results if each not in unfinished and (problem := JUDGES[name](each.text))]
    for line in [*wrong[:5], *(f"{each.finish_reason}: {each.text!r} {each.error or ''}" for each in unfinished[:5])]:
        print("   ", line)
    return (
        f"{name}: {count} answers, {num_tokens} tokens, {count - len(unfinished)} complete, {len(wrong)} of them "
        f"wrong; {1e3 * elapsed / num_tokens:.2f} ms a token, with the model's own"
    )


def sampling(name: str, seed: int, *, max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=1.5, seed=seed, max_tokens=max_tokens, grammar=built_in(name))


def _json_error(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        return f"{text!r}: {error}"
    return ""


def _sql_error(text: str) -> str:
    """By sqlglot and by SQLite, of whom the second also looks for tables, which there are none of."""
    if found := sql.syntax_error(text):
        return f"{text!r}: {found}"
    try:
        sqlite3.connect(":memory:").execute("EXPLAIN " + text)
    except sqlite3.Error as error:
        if any(each in str(error) for each in ("syntax error", "incomplete input", "unrecognized token")):
            return f"{text!r}: {error}"
    return ""


def _cypher_error(text: str) -> str:
    found = cypher.parse_one({"query": text})[2]
    return f"{text!r}: {found}" if found else ""


JUDGES: dict[str, Callable[[str], str]] = {"json": _json_error, "sql": _sql_error, "cypher": _cypher_error}

if __name__ == "__main__":
    main()
