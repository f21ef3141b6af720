"""``python -m xpm_build.embedded rebuild | evaluate``: make the embedded default, or judge the one that is there."""

import argparse
import sys
from pathlib import Path

from xpm_build.embedded.rebuild import evaluate_bundle, rebuild

_BUNDLE = Path("xpm/embedded/index.bundle")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m xpm_build.embedded", description=__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("rebuild", help="train, evaluate, sign and index everything")
    make.add_argument(
        "--work", type=Path, required=True, help="where intermediate results are kept; finished steps are not repeated"
    )
    make.add_argument("--out", type=Path, required=True, help="the folder that gets index.bundle")
    make.set_defaults(run=lambda args: rebuild(args.work, args.out / _BUNDLE.name, report=_say))
    judge = commands.add_parser("evaluate", help="judge the experts of a bundle, and their base alone")
    judge.add_argument("--bundle", type=Path, default=_BUNDLE)
    judge.set_defaults(run=lambda args: evaluate_bundle(args.bundle, report=print))
    args = parser.parse_args()
    args.run(args)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
