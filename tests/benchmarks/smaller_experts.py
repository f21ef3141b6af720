"""What an expert gets right when its numbers are made fewer or shorter: executed, on its own held-back cases.

    python -m tests.benchmarks.smaller_experts FOLDER --base MODEL [--cases 50] [--ranks 12,8,4,2,1]

FOLDER is an expert's, with its data split; MODEL the Hugging Face folder of its base. Each way is compiled to slots and
answers the same cases in the engine; the interval is of the difference to float32, by paired bootstrap. With
``--ranks`` the ways are float16 of these ranks, by SVD, and the relative error of the update is told.
"""

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from tests.benchmarks.smaller_updates import by_rank, factors, pairs_of
from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.adapter.methods import CompiledAdapter
from xpm_build.base.adaptable import Adaptable
from xpm_build.base.configuration import read_configuration
from xpm_build.base.export import export_base
from xpm_build.evaluation.answers import Answerer, AnswerJournal
from xpm_build.evaluation.cases import read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.evaluation.metrics import compare
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest
from xpm_runtime import Engine
from xpm_runtime.graph import GraphSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=50, help="of each circle")
    parser.add_argument("--ranks", type=lambda text: [int(each) for each in text.split(",")], default=[])
    options = parser.parse_args()
    base = Adaptable.of_configuration(read_configuration(options.base), _no_weights)
    adapter = compile_adapter(options.folder, base)
    examiner = Examiner.of(Manifest.parse((options.folder / MANIFEST).read_bytes()), execution=True)
    circles = read_circles(options.folder, examiner.settings, file=None, most=options.cases)
    rows = [row for circle in circles for row in circle.rows]
    ways = by_rank(options.ranks) if options.ranks else factors(adapter.rank)
    print(
        "| kept | bits of float16's | error of the update | right | difference (95 % interval) |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as scratch, closing(AnswerJournal(Path(scratch) / "journal")) as journal:
        export_base(options.base, Path(scratch) / "graph")
        digest = GraphSpec.read(Path(scratch) / "graph").base_digest
        with Engine.load(Path(scratch) / "graph", max_lanes=16) as engine:
            answerer, first = Answerer(engine, journal), None
            for number, (name, make) in enumerate(ways.items()):
                smaller, size, full = CompiledAdapter(kind="lora", rank=adapter.rank), 0.0, 0.0
                lost = whole = 0.0
                for linear, (a, b) in pairs_of(adapter).items():
                    made_a, made_b, kept = make(a, b)
                    smaller.rank = made_a.shape[0]
                    smaller.tensors |= {f"slots.{linear}.A": made_a, f"slots.{linear}.B": made_b}
                    size, full = size + kept, full + 2 * (a.size + b.size)
                    lost += float(np.square(made_b.T @ made_a - b.T @ a).sum())
                    whole += float(np.square(b.T @ a).sum())
                slots = Path(scratch) / f"{number}.safetensors"
                save_slots(smaller, slots, base_digest=digest)
                answerer.attach(name, slots)
                found = examiner.examine(answerer, rows, (name,), what=name, report=lambda text: None)
                first = first or found.right
                over = compare(found.right, first)
                told = f"{100 * over.difference:+.1f} [{100 * over.low:+.1f}, {100 * over.high:+.1f}]"
                print(
                    f"| {name} | {100 * size / full:.0f} % | {(lost / whole) ** 0.5:.3f} | {found.figures.right:.1%} "
                    f"| {told} |",
                    flush=True,
                )


def _no_weights(name: str) -> None:
    raise SystemExit(f"an adapter that needs the base's {name} is not measured here")


if __name__ == "__main__":
    main()
