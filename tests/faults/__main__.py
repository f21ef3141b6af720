"""Inject faults into every file-system call of the commands that change something, and check what is left.

``python -m tests.faults`` runs all scenarios; ``--max N`` takes N calls of each, spread over all;
``--only NAME`` one scenario.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from tests.faults import harness
from tests.faults.invariants import files, violations
from tests.faults.scenarios import SCENARIOS, Scenario, World, build
from xpm.cli.main import COMMANDS


@dataclass(slots=True)
class Tally:
    calls: int = 0
    faults: int = 0
    survived: int = 0  # the command succeeded in spite of the fault
    told: int = 0  # it failed with an error of ours
    killed: int = 0
    wrong: list[str] = field(default_factory=list)


def restore(template: Path, root: Path) -> None:
    shutil.rmtree(root)
    subprocess.run(["cp", "-a", str(template), str(root)], check=True)


def check(scenario: Scenario, limit: int | None, seed: int, scratch: Path) -> Tally:
    """Disturb one scenario at every call, or at ``limit`` of them."""
    root, template = scratch / scenario.name, scratch / f"{scenario.name}.template"
    world = build(root, scenario)
    shutil.copytree(root, template, symlinks=True)
    arguments = [each.format(root=root) for each in scenario.arguments]
    where = {"folder": world.project, "home": world.home}
    before = files(world)
    calls = harness.list_calls(arguments, sandbox=root, **where)
    after = files(world)
    tally = Tally(calls=len(calls))
    for call, fault in _chosen(calls, limit, seed):
        restore(template, root)
        outcome = harness.run(arguments, strace=harness.inject(call, fault), **where)
        tally.faults += 1
        tally.survived += outcome.code == 0
        tally.killed += outcome.code == -9
        tally.told += outcome.code > 0
        problems = _judge(world, outcome, call, fault, before, after)
        again = harness.run(arguments, **where)
        problems += _judge_rerun(scenario, world, again, outcome, after)
        for problem in problems:
            tally.wrong.append(f"{scenario.name}: {fault} at {call.name} {call.number} {call.shown[:120]}: {problem}")
    return tally


def _chosen(calls: list[harness.Call], limit: int | None, seed: int) -> list[tuple[harness.Call, str]]:
    """Every call that writes with every fault, and every call that reads with EIO; or a sample of them."""
    pairs = [
        (call, fault)
        for call in calls
        for fault in harness.FAULTS
        if fault == "EIO" or call.name not in harness.READING
    ]
    if limit is None or len(pairs) <= limit:
        return pairs
    return random.Random(seed).sample(pairs, limit)


def _judge(
    world: World,
    outcome: harness.Outcome,
    call: harness.Call,
    fault: str,
    before: dict[str, bytes | None],
    after: dict[str, bytes | None],
) -> list[str]:
    found = violations(world, before, after, quiet=outcome.code == 0)
    if outcome.code == harness.HUNG:
        found.append("it did not end")
    elif outcome.code in (70, 99) or "Traceback" in outcome.output:
        found.append(f"it crashed: {outcome.output.strip()[-600:]}")
    elif outcome.code > 0 and "error[" not in outcome.output and call.name != "write":
        # strace counts in each thread: a failing write may also be that of the message
        found.append(f"it failed without an error: {outcome.output.strip()[-300:]}")
    elif outcome.code < 0 and fault != "KILL":
        found.append(f"it died of signal {-outcome.code}")
    return found


def _judge_rerun(
    scenario: Scenario, world: World, again: harness.Outcome, first: harness.Outcome, after: dict[str, bytes | None]
) -> list[str]:
    """The same command again succeeds, or says that it had been done already, and leaves what
    an undisturbed run leaves."""
    done_already = ("published already", "yanked already", "not installed here", "nothing to undo", "nothing to redo")
    if again.code != 0 and not any(text in again.output for text in done_already):
        return [f"the rerun failed with {again.code}: {again.output.strip()[-600:]}"]
    found = [f"after the rerun: {each}" for each in violations(world, after, after, quiet=True)]
    if scenario.name in ("publish", "yank", "refresh"):
        checked = harness.run(["index", "verify", str(world.index)], folder=world.project, home=world.home)
        if checked.code:
            found.append(f"the index does not verify: {checked.output.strip()[-300:]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[each.name for each in SCENARIOS])
    parser.add_argument("--max", type=int, help="faults per scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the report here")
    options = parser.parse_args()
    if not harness.is_possible():
        print("strace is not here, or may not trace", file=sys.stderr)
        return 1
    preload()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="xpm-faults-") as scratch:
        for scenario in SCENARIOS:
            if options.only is None or scenario.name in options.only:
                tallies[scenario.name] = tally = check(scenario, options.max, options.seed, Path(scratch))
                print(
                    f"{scenario.name}: {tally.calls} calls, {tally.faults} faults: {tally.survived} survived, "
                    f"{tally.told} told, {tally.killed} killed, {len(tally.wrong)} wrong",
                    flush=True,
                )
                for problem in tally.wrong[:20]:
                    print(f"  {problem}", flush=True)
    print(
        f"{sum(each.faults for each in tallies.values())} faults, {sum(len(each.wrong) for each in tallies.values())} "
        "wrong"
    )
    if options.json:
        options.json.write_text(json.dumps({name: vars_of(each) for name, each in tallies.items()}, indent=2))
    return 1 if any(each.wrong for each in tallies.values()) else 0


def vars_of(tally: Tally) -> dict[str, object]:
    return {
        "calls": tally.calls,
        "faults": tally.faults,
        "survived": tally.survived,
        "told": tally.told,
        "killed": tally.killed,
        "wrong": tally.wrong,
    }


def preload() -> None:
    """Import what the commands import, so that their children do not."""
    for module, _ in COMMANDS.values():
        import_module(module)
    for name in (
        "xpm.fetch",
        "xpm.operations.direct",
        "xpm.operations.locking",
        "xpm.operations.handed_in",
        "xpm.indexes",
        "xpm_build.check",
        "jsonschema",  # which publishing looks at manifests with, and what it imports in turn
        "packaging.licenses",
    ):
        import_module(name)


if __name__ == "__main__":
    sys.exit(main())
