"""Rust: the answer must compile and its calls must return what the tests want.

All cases are modules of one program, so that the compiler runs once; modules with errors are taken out and it
runs again. The program then runs once per case. Without ``rustc`` an answer is only parsed, and right if it is
the gold answer but for spaces.
"""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.judges.code import CODE_CHECK, Fields, Record, records_of, tree_sitter
from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.judges.sandbox import Limits, run, scratch_folder

_COMPILE = Limits(cpu_s=300, wall_s=300.0, memory_bytes=0, num_files=1024, file_bytes=1 << 30)
_RUN = Limits(cpu_s=2, wall_s=5.0, memory_bytes=1 << 30)
_CASES_PER_PROGRAM = 250
_MAX_ROUNDS = 12


class Rust:
    name, spoken, none, record_kind = "rust", "Rust", "None", "struct"
    _types = {"int": "i64", "str": "String", "bool": "bool", "{int}": "HashMap<String, i64>"}

    @staticmethod
    def type(type_: str) -> str:
        if type_.endswith("?"):
            return f"Option<{Rust.type(type_[:-1])}>"
        if type_.startswith("["):
            return f"Vec<{Rust.type(type_[1:-1])}>"
        return Rust._types.get(type_, type_.lstrip("@"))

    @staticmethod
    def header(name: str, params: Fields, returns: str) -> str:
        listed = ", ".join(f"{each}: {Rust.type(type_)}" for each, type_ in params)
        return f"fn {name}({listed}) -> {Rust.type(returns)}"

    @staticmethod
    def function(header: str, body: str) -> str:
        return f"{header} {{\n" + "\n".join(f"    {line}" for line in body.split("\n")) + "\n}"

    @staticmethod
    def shown(record: Record) -> str:
        return f"{record.name} {{ {', '.join(f'{name}: {Rust.type(type_)}' for name, type_ in record.fields)} }}"

    @staticmethod
    def define(record: Record) -> str:
        lines = "\n".join(f"    {name}: {Rust.type(type_)}," for name, type_ in record.fields)
        return f"struct {record.name} {{\n{lines}\n}}"

    @staticmethod
    def literal(value: Any, type_: str, records: dict[str, Record]) -> str:
        if type_.endswith("?"):
            return "None" if value is None else f"Some({Rust.literal(value, type_[:-1], records)})"
        if type_.startswith("["):
            items = ", ".join(Rust.literal(each, type_[1:-1], records) for each in value)
            return f"Vec::<{Rust.type(type_[1:-1])}>::from([{items}])"
        if type_.startswith("@"):
            pairs = zip(records[type_[1:]].fields, value, strict=True)
            return (
                f"{type_[1:]} {{ "
                f"{', '.join(f'{name}: {Rust.literal(each, kind, records)}' for (name, kind), each in pairs)} }}"
            )
        if type_ == "{int}":
            items = ", ".join(f"({json.dumps(key)}.to_string(), {each})" for key, each in value.items())
            return f"HashMap::<String, i64>::from([{items}])"
        return f"{json.dumps(value)}.to_string()" if type_ == "str" else json.dumps(value)


@cache
def compiler() -> str | None:
    """``rustc``, if there is one that works where answers are run (a rustup without a toolchain does not)."""
    if shutil.which("rustc") is None:
        return None
    with scratch_folder() as folder:
        return "rustc" if run(["rustc", "--version"], folder, limits=_COMPILE).returncode == 0 else None


def judge_rust(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
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
    malformed = [number for number in numbers if not RUST.parses(answers[number])]
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
                f"let got: {Rust.type(type_)} = made.{name}; assert_eq!(got, "
                f"{Rust.literal(values[type_], type_, records)});"
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


RUST = Language(
    name="rust",
    judge=judge_rust,
    check=CODE_CHECK,
    syntax_error=tree_sitter("tree_sitter_rust", "language"),
    compiler=lambda: compiler(),
    comment="// ",
)
