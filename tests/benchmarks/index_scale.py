"""How xpm does with a large index: fetching it, following it, searching it, resolving against it.

Run as ``python -m tests.benchmarks.index_scale --names 100000``. Every figure is of a process of its own, so that its
memory is its own too; the `git` program and pure dulwich fetch the same repository in the same run.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xpm_build.processes import peak_memory_bytes

VERSIONS = 5
BEHIND = (1, 100, 1000)
QUERIES = ("sql", "writes python", "chess maps", "expert 000123", "translates legal", "poetry", "rust repairs", "jso")


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def open_indexes(home: Path, url: str, fingerprint: str) -> Any:
    from xpm.home import Home
    from xpm.indexes import Indexes
    from xpm.project import IndexSource, Project

    project = Project(indexes={"big": IndexSource(url=url, fingerprint=fingerprint)})
    return Indexes(Home(home), project)


def measure_update(home: Path, url: str, fingerprint: str, program: str) -> dict[str, Any]:
    """One update, with the `git` program or without."""
    from xpm_index import git_program

    if program == "dulwich":
        git_program.is_available = lambda: False
    with open_indexes(home, url, fingerprint) as indexes:
        seconds, changed = timed(lambda: indexes.update("big"))
    return {"s": seconds, "changed": changed}


def measure_search(home: Path, url: str, fingerprint: str, program: str) -> dict[str, Any]:
    """The first search, which makes the cache, and then the median of others with their hits verified."""
    from xpm.search import Query, words_of

    with open_indexes(home, url, fingerprint) as indexes:
        first, _ = timed(lambda: indexes.search("big", Query(words=("sql",))))
        timings, verified = [], []
        for text in QUERIES * 3:
            seconds, found = timed(lambda text=text: indexes.search("big", Query(words=words_of([text]), limit=20)))
            timings.append(seconds)
            more, _ = timed(lambda found=found: [indexes.snapshot("big").entries(name) for name, _ in found])
            verified.append(seconds + more)
    return {
        "first_s": first,
        "search_ms": statistics.median(timings) * 1000,
        "shown_ms": statistics.median(verified) * 1000,
    }


def measure_resolve(home: Path, url: str, fingerprint: str, program: str) -> dict[str, Any]:
    """Resolving projects of three experts and what they require, each read from the index and verified."""
    from tests.benchmarks.synthetic_index import BASES
    from xpm.resolve import Problem, resolve
    from xpm_index.entries import ArchiveRef, Entry
    from xpm_index.requirements import Requirement
    from xpm_index.versions import Version

    archive = ArchiveRef(base="xpm-tiny", base_digest=BASES[1], variant="fp32", digest=BASES[1], size=1, sources=())
    base = Entry(
        name="xpm-tiny",
        version=Version.parse("1.0.0"),
        kind="base",
        description="",
        publisher="acme",
        key_id="k",
        published_at="2026-01-01T00:00:00Z",
        archives=(archive,),
    )
    choose = random.Random(11)
    with open_indexes(home, url, fingerprint) as indexes:
        names = list(indexes.snapshot("big").names())
        timings, sizes = [], []
        indexes.entries(names[0])
        while len(timings) < 20:
            wanted = tuple(Requirement.parse(name) for name in choose.sample(names, 3))
            problem = Problem(requirements=wanted, base=Requirement.parse("xpm-tiny"), variant="fp32")
            with open_indexes(home, url, fingerprint) as fresh:

                def candidates(name, fresh=fresh):
                    return (base,) if name == "xpm-tiny" else fresh.entries(name)[1]

                try:
                    seconds, found = timed(lambda problem=problem, get=candidates: resolve(problem, get))
                except Exception:  # more than ten experts
                    continue
            timings.append(seconds)
            sizes.append(len(found.experts))
    return {
        "resolve_ms": statistics.median(timings) * 1000,
        "worst_ms": max(timings) * 1000,
        "experts": statistics.mean(sizes),
    }


MEASURES = {"update": measure_update, "search": measure_search, "resolve": measure_resolve}


def run(what: str, home: Path, url: str, fingerprint: str, program: str = "git") -> dict[str, Any]:
    """A measurement in a process of its own; adds its peak memory."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.index_scale",
        "--measure",
        what,
        str(home),
        url,
        fingerprint,
        program,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{what} {program}: {json.dumps(found)}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--bin-bits", type=int, default=10)
    parser.add_argument("--measure", nargs=5, metavar=("WHAT", "HOME", "URL", "FINGERPRINT", "PROGRAM"))
    arguments = parser.parse_args()
    if arguments.measure:
        what, home, url, fingerprint, program = arguments.measure
        found = MEASURES[what](Path(home), url, fingerprint, program)
        print(json.dumps(found | {"peak_mb": round(peak_memory_bytes() / 1e6)}))
        return
    with tempfile.TemporaryDirectory(prefix="xpm-scale-") as scratch:
        measure_all(Path(scratch), arguments.names, arguments.bin_bits)


def measure_all(scratch: Path, num_names: int, bin_bits: int) -> None:
    from tests.benchmarks.synthetic_index import describe, make_index

    seconds, index = timed(
        lambda: make_index(scratch / "index.git", num_names=num_names, num_versions=VERSIONS, bin_bits=bin_bits)
    )
    print(f"made in {seconds:.0f} s: {describe(index)}", flush=True)
    url = index.path.as_uri()
    clone = ["git", "clone", "-q", "--bare", url, str(scratch / "clone.git")]
    cloned, _ = timed(lambda: subprocess.run(clone, check=True))
    print(f"git clone alone: {cloned:.2f} s", flush=True)
    homes = {program: scratch / f"home-{program}" for program in ("git", "dulwich")}
    for program, home in homes.items():
        run("update", home, url, index.fingerprint, program)
    run("search", homes["git"], url, index.fingerprint)
    run("resolve", homes["git"], url, index.fingerprint)
    done = 0
    for behind in BEHIND:
        seconds, _ = timed(lambda behind=behind, done=done: index.add_commits(behind - done, seed=behind))
        print(f"published {behind - done} versions at {seconds / (behind - done) * 1000:.0f} ms each", flush=True)
        done = behind
        subprocess.run(["git", "-C", str(index.path), "repack", "-q", "-d"], check=True)  # as a Git host does
        for program, home in homes.items():
            copy = scratch / f"copy-{program}-{behind}"
            shutil.copytree(home, copy)
            print(f"{behind} commits behind, ", end="")
            run("update", copy, url, index.fingerprint, program)
            if program == "git":
                run("search", copy, url, index.fingerprint)
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
