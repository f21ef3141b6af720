"""How the pages of a large index do: served, searched, followed after a new version, and written as files.

Run as ``python -m tests.benchmarks.market_scale --names 100000 --built 10000``. Serving and building are measured in
processes of their own, so that their memory is their own too; the entries name archives that lie elsewhere.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.index_scale import QUERIES, timed
from tests.benchmarks.synthetic_index import SyntheticIndex, make_index
from xpm_build.processes import peak_memory_bytes

_TURN = "turn"


def measure_serve(repository: Path, scratch: Path) -> dict[str, Any]:
    """The first page, others, searches, and the first page after one more version; waits for a line before that."""
    from xpm.operations.market_serve import RepositorySource
    from xpm.site.live import LiveSite
    from xpm.site.pages import Site

    live = LiveSite(RepositorySource(repository, ""), Site(live=True), scratch)
    first, _ = timed(lambda: live.reply("index.html", {}))
    names = list(live._catalogue.packages)
    pages = [timed(lambda name=name: live.reply(f"experts/{name}.html", {}))[0] for name in names[:: len(names) // 50]]
    made, _ = timed(lambda: live.reply("search.html", {"q": "sql"}))
    searches = [timed(lambda q=q: live.reply("search.html", {"q": q}))[0] for q in QUERIES * 3]
    print(_TURN, flush=True)
    sys.stdin.readline()
    after, _ = timed(lambda: live.reply("index.html", {}))
    again, _ = timed(lambda: live.reply("search.html", {"q": "chess"}))
    return {
        "first_s": first,
        "page_ms": statistics.median(pages) * 1000,
        "first_search_s": made,
        "search_ms": statistics.median(searches) * 1000,
        "worst_search_ms": max(searches) * 1000,
        "after_a_version_s": after,
        "search_after_it_s": again,
    }


def measure_build(repository: Path, scratch: Path) -> dict[str, Any]:
    """A new site, and the same after one more version."""
    from xpm.operations.market import read_snapshot
    from xpm.site.build import build_site
    from xpm.site.pages import Site
    from xpm_index.git import BareRepo

    def build() -> Any:
        with BareRepo.open(repository) as repo:
            return build_site(read_snapshot(repo, ahead=True), scratch / "site", Site())

    whole, built = timed(build)
    print(_TURN, flush=True)
    sys.stdin.readline()
    after, _ = timed(build)
    size = max(each.stat().st_size for each in (scratch / "site/experts").glob("*.html"))
    return {"pages": built.num_pages, "whole_s": whole, "after_a_version_s": after, "largest_page_bytes": size}


MEASURES = {"serve": measure_serve, "build": measure_build}


def run(what: str, index: SyntheticIndex, scratch: Path) -> None:
    """A measurement in a process of its own, which is told when a version was published meanwhile."""
    scratch.mkdir()
    command = [sys.executable, "-m", "tests.benchmarks.market_scale", "--measure", what, str(index.path), str(scratch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for line in process.stdout:
            if line.strip() != _TURN:
                print(f"{what} of {len(index.names):,}: {line.strip()}", flush=True)
                continue
            index.add_commits(1, seed=3)
            process.stdin.write("\n")
            process.stdin.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=100_000, help="of the index that is served")
    parser.add_argument("--built", type=int, default=10_000, help="of the index whose pages are written as files")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "INDEX", "SCRATCH"))
    arguments = parser.parse_args()
    if arguments.measure:
        what, path, folder = arguments.measure
        found = MEASURES[what](Path(path), Path(folder))
        print(json.dumps(found | {"peak_mb": round(peak_memory_bytes() / 1e6)}))
        return
    with tempfile.TemporaryDirectory(prefix="xpm-market-scale-") as scratch:
        for what, count in (("serve", arguments.names), ("build", arguments.built)):
            if count:
                path = Path(scratch) / f"{what}.git"
                run(what, make_index(path, num_names=count, num_versions=2, bin_bits=10), Path(scratch) / what)


if __name__ == "__main__":
    main()
