"""``python -m examples.market --work .market``: make the experts of the demonstration, and an index of them to browse.

What its processes run is not in this file: a process that is started anew does not find what is in
a package's ``__main__``.
"""

import argparse
import sys
from pathlib import Path

from examples.market.demonstration import build


def main() -> None:
    about = "Make the experts of the demonstration, and an index of them."
    parser = argparse.ArgumentParser(prog="python -m examples.market", description=about)
    parser.add_argument(
        "--work", type=Path, required=True, help="where all is kept; what is done there is not repeated"
    )
    parser.add_argument("--count", type=int, help="the first so many experts of the plan; all by default")
    parser.add_argument("--workers", type=int, help="processes; by default one for each core")
    args = parser.parse_args()
    path = build(args.work, count=args.count, workers=args.workers)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
