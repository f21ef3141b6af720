"""Rust: the answer must compile and its calls must return what the tests want.

All cases are modules of one program, so that the compiler runs once; modules with errors are taken out and it runs again. The
program then runs once per case. Without ``rustc`` an answer is only parsed, and right if it is the gold answer but for spaces.
"""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from xpm_build.domains.languages import Rust
from xpm_build.judges.python import records_of
from xpm_build.judges.sandbox import Limits, run, scratch_folder
from xpm_build.judges.syntax import judge_syntax, parses
from xpm_build.judges.verdict import Row, Verdict

_COMPILE = Limits(cpu_s=300, wall_s=300.0, memory_bytes=0, num_files=1024, file_bytes=1 << 30)
_RUN = Limits(cpu_s=2, wall_s=5.0, memory_bytes=1 << 30)
_CASES_PER_PROGRAM = 250
_MAX_ROUNDS = 12


@cache
def compiler() -> str | None:
    """``rustc``, if there is one that works where answers are run (a rustup without a toolchain does not)."""
    if shutil.which("rustc") is None:
        return None
    with scratch_folder() as folder:
        return "rustc" if run(["rustc", "--version"], folder, limits=_COMPILE).returncode == 0 else None


def judge_rust(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    if compiler() is None:
        return judge_syntax("rust", rows, answers)
    verdicts: dict[int, Verdict] = {}
    for start in range(0, len(answers), _CASES_PER_PROGRAM):
        numbers = range(start, min(start + _CASES_PER_PROGRAM, len(answers)))
        with scratch_folder() as folder:
            verdicts |= _judge_together(folder, rows, answers, list(numbers))
    return [verdicts[number] for number in range(len(answers))]


def _judge_together(
    folder: Path, rows: Sequence[Row], answers: Sequence[str], numbers: list[int]
) -> dict[int, Verdict]:
    """Judge cases as one program; in halves if the compiler does not say, or not soon, which of them it fails on."""
    malformed = [number for number in numbers if not parses("rust", answers[number])]
    verdicts = {number: Verdict(right=False, parses=False, reason="does not parse") for number in malformed}
    for _ in range(_MAX_ROUNDS):
        left = [number for number in numbers if number not in verdicts]
        errors = _compile(folder, rows, answers, left)
        if errors == {}:
            with ThreadPoolExecutor(2) as pool:
                return verdicts | dict(zip(left, pool.map(lambda number: _execute(folder, number), left), strict=True))
        if errors is None:
            break
        verdicts |= {number: Verdict(right=False, parses=True, reason=reason) for number, reason in errors.items()}
    left = [number for number in numbers if number not in verdicts]
    if len(left) == 1:
        return verdicts | {left[0]: Verdict(right=False, parses=True, reason="the compiler fails on it")}
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        verdicts |= _judge_together(folder, rows, answers, half) if half else {}
    return verdicts


def _compile(folder: Path, rows: Sequence[Row], answers: Sequence[str], numbers: list[int]) -> dict[int, str] | None:
    """Case -> message of its first error; empty if the program was made, None if the compiler names no case."""
    lines, first_line = ["#![allow(warnings)]"], {}
    for number in numbers:
        first_line[len(lines) + 1] = number
        lines += _module(number, rows[number], answers[number]).split("\n")
    arms = [f"{number} => case_{number}::check()," for number in numbers]
    lines += [
        "fn main() {",
        "match std::env::args().nth(1).unwrap().parse::<usize>().unwrap() {",
        *arms,
        "_ => panic!(),",
        "}",
        "}",
    ]
    (folder / "main.rs").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = run(
        ["rustc", "--edition", "2021", "--error-format", "json", "-C", "debuginfo=0", "-o", "cases", "main.rs"],
        folder,
        limits=_COMPILE,
    )
    if done.returncode == 0:
        return {}
    errors: dict[int, str] = {}
    for line in done.stderr.decode(errors="replace").splitlines():
        document = json.loads(line) if line.startswith("{") else {}
        if document.get("level") != "error":
            continue
        for span in document["spans"]:
            starts = [start for start in first_line if start <= span["line_start"]]
            if starts:
                errors.setdefault(first_line[max(starts)], document["message"])
    return errors or None


def _execute(folder: Path, number: int) -> Verdict:
    errors = folder / f"errors_{number}"  # a file, whose size is bounded; what an answer prints is nobody's business
    done = run(["sh", "-c", f"exec ./cases {number} >/dev/null 2>{errors.name}"], folder, limits=_RUN)
    if done.returncode == 0:
        return Verdict(right=True, parses=True)
    said = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    reason = "took too long" if done.returncode == 124 else " ".join(said[1:4]) or f"ended with {done.returncode}"
    return Verdict(right=False, parses=True, reason=reason)


def _module(number: int, row: Row, answer: str) -> str:
    check = row["check"]
    records = records_of(check)
    lines = [f"mod case_{number} {{", "use std::collections::*;"]
    if check.get("define"):
        record = next(iter(records.values()))
        values = {"int": 1, "str": "one", "bool": True}
        made = Rust.literal([values[type_] for _, type_ in record.fields], f"@{record.name}", records)
        lines += [answer, "pub fn check() {", f"let made = {made};"]
        for name, type_ in record.fields:
            lines.append(
                f"let got: {Rust.type(type_)} = made.{name}; assert_eq!(got, {Rust.literal(values[type_], type_, records)});"
            )
        return "\n".join([*lines, "}", "}"])
    lines += [f"#[derive(Debug, Clone, PartialEq)]\n{Rust.define(record)}" for record in records.values()]
    lines += [answer, "pub fn check() {"]
    returns = Rust.type(check["returns"])
    for arguments, wanted in check["tests"]:
        literals = [
            Rust.literal(value, type_, records) for value, (_, type_) in zip(arguments, check["params"], strict=True)
        ]
        call = f"{check['name']}({', '.join(literals)})"
        lines.append(
            f"let got: {returns} = {call}; let want: {returns} = {Rust.literal(wanted, check['returns'], records)};"
        )
        lines.append("assert_eq!(got, want);")
    return "\n".join([*lines, "}", "}"])
