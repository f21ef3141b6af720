"""What the experts that come with xpm get right when their updates are cut to lower ranks, by
SVD: executed, against bytes.

    python -m tests.benchmarks.ranks_of_memory [--cases 30] [--ranks 8,4,2,1] [--experts expert-sql,expert-json]

Each expert's held-back cases are made anew from its manifest (of --rows rows), and answered by the installed expert as
it is and with its slots at each rank; the interval is of the difference, by paired bootstrap.
"""

import argparse
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.install import require_stored
from xpm.operations.installed import find_installed
from xpm.project import EMBEDDED_EXPERTS, Project
from xpm_build.adapter.recompress import spectrum_of
from xpm_build.dataset import commands
from xpm_build.evaluation.answers import Answerer, AnswerJournal
from xpm_build.evaluation.cases import read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.evaluation.metrics import compare
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest
from xpm_runtime import Engine

_PACKAGES = Path(__file__).parents[2] / "examples" / "embedded" / "packages"
_SLOTS = "slots.safetensors"


def cut(source: Path, target: Path, rank: int) -> tuple[float, float, float]:
    """Write slots cut to a rank; (bytes, bytes as they were, relative error of the update)."""
    with safe_open(source, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    made, lost, whole = {}, 0.0, 0.0
    for name in [each[:-2] for each in tensors if each.endswith(".A")]:
        a, b = (_widened(tensors, f"{name}.{part}") for part in "AB")
        new_a, new_b = (np.ascontiguousarray(each, np.float16) for each in spectrum_of([(a, b)]).pair(rank))
        made |= {f"{name}.A": new_a, f"{name}.B": new_b}
        lost += float(np.square(new_b.T.astype(np.float32) @ new_a.astype(np.float32) - b.T @ a).sum())
        whole += float(np.square(b.T @ a).sum())
    save_file(made, target, metadata={**metadata, "rank": str(rank)})
    full = sum(2 * each.size for name, each in tensors.items() if name.endswith((".A", ".B")))
    return sum(each.nbytes for each in made.values()), full, (lost / whole) ** 0.5


def _widened(tensors, name):
    array = tensors[name].astype(np.float32)
    return array * tensors[f"{name}.scale"][:, None] if f"{name}.scale" in tensors else array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30, help="of each circle")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--ranks", type=lambda text: [int(each) for each in text.split(",")], default=[8, 4, 2, 1])
    parser.add_argument("--experts", type=lambda text: text.split(","), default=list(EMBEDDED_EXPERTS))
    options = parser.parse_args()
    print(
        "| expert | rank | bytes | error of the update | right | difference (95 % interval) "
        "|\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as scratch, closing(AnswerJournal(Path(scratch) / "journal")) as journal:
        root = Path(scratch)
        Project(wants=EMBEDDED_EXPERTS).save(root)
        environment = Environment(home=Home(root / "home"), folder=root, is_project=True)
        require_stored(environment)
        with Engine.load(find_installed(environment, "xpm-tiny").folder, max_lanes=16, device="cpu") as engine:
            answerer = Answerer(engine, journal)
            for expert in options.experts:
                folder = root / expert
                folder.mkdir()
                shutil.copy(_PACKAGES / expert / MANIFEST, folder)
                commands.generate(folder, overrides={"count": options.rows}, concurrency=1, report=lambda text: None)
                commands.split(folder)
                examiner = Examiner.of(Manifest.parse((folder / MANIFEST).read_bytes()), execution=True)
                circles = read_circles(folder, examiner.settings, file=None, most=options.cases)
                rows = [row for circle in circles for row in circle.rows]
                first = None
                source = find_installed(environment, expert).folder / _SLOTS
                with safe_open(source, framework="numpy") as file:
                    full_rank = int(file.metadata()["rank"])
                for rank in [full_rank, *options.ranks]:
                    slots = root / f"{expert}-{rank}.safetensors"
                    size, full, error = cut(source, slots, rank)
                    answerer.attach(f"{expert}-{rank}", slots)
                    found = examiner.examine(answerer, rows, (f"{expert}-{rank}",), what="", report=lambda text: None)
                    first = first or found.right
                    over = compare(found.right, first)
                    told = f"{100 * over.difference:+.1f} [{100 * over.low:+.1f}, {100 * over.high:+.1f}]"
                    right = f"{found.figures.right:.1%} | {told}"
                    print(f"| {expert} | {rank} | {100 * size / full:.0f} % | {error:.3f} | {right} |", flush=True)


if __name__ == "__main__":
    main()
