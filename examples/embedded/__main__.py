"""``python -m examples.embedded rebuild | evaluate | tables | variants | real``: make what comes with
xpm, judge it, tell of it."""

import argparse
from pathlib import Path

from examples.embedded.real import make_real
from examples.embedded.rebuild import EXPERTS, evaluate_bundle, rebuild, say
from examples.embedded.tables import write_real_tables, write_tables
from examples.embedded.variants import compare_adapters

_BUNDLE = Path("xpm/embedded/index.bundle")
_EVERYDAY = Path("tests/everyday")
_PAGE = Path("docs/reference/experts.md")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.embedded", description=__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("rebuild", help="train, evaluate, sign and index everything")
    make.add_argument(
        "--work", type=Path, required=True, help="where intermediate results are kept; finished steps are not repeated"
    )
    make.add_argument("--out", type=Path, required=True, help="the folder that gets index.bundle")
    make.add_argument("--real", type=Path, help="the packages that `real` built, to go along")
    make.set_defaults(run=lambda args: rebuild(args.work, args.out / _BUNDLE.name, real=args.real, report=say))
    judge = commands.add_parser("evaluate", help="judge the experts of a bundle, and their base alone")
    judge.add_argument("--bundle", type=Path, default=_BUNDLE)
    judge.add_argument("--cases", type=int, default=500, help="the most cases of a circle")
    judge.set_defaults(run=lambda args: evaluate_bundle(args.bundle, cases=args.cases, report=print))
    table = commands.add_parser("tables", help=f"write into {_PAGE} and beside it what judging found in a work folder")
    table.add_argument("--work", type=Path, required=True)
    table.add_argument("--real", action="store_true", help="those for a real base, from the work folder of `real`")
    table.set_defaults(run=lambda args: (write_real_tables if args.real else write_tables)(args.work, EXPERTS, _PAGE))
    compare = commands.add_parser("variants", help="train two experts with other adapters and print how they compare")
    compare.add_argument("--work", type=Path, required=True)
    compare.set_defaults(run=lambda args: print(compare_adapters(args.work, report=say)))
    real = commands.add_parser(
        "real", help="train experts for SmolLM2-135M-Instruct and judge them on everyday requests"
    )
    real.add_argument("--work", type=Path, required=True, help="where the model, data and trainings are kept")
    real.add_argument("--only", action="append", default=[], choices=EXPERTS, help="this expert; repeatable")
    real.set_defaults(
        run=lambda args: make_real(args.work, args.work / "packages", everyday=_EVERYDAY, only=args.only, report=say)
    )
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
