"""TypeScript: the answer must pass ``tsc --strict`` and its calls must return what the tests want, in Node.

One compiler run checks all cases, each a module of its own; then one Node process runs each compiled case in a context
of its own with a time limit; another goes on behind a case that ends it. Without both programs an answer is only
parsed, and right if it is the gold answer but for spaces.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.judges.code import CODE_CHECK, Fields, Record, records_of, tree_sitter
from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.judges.sandbox import Limits, run, scratch_folder

_NODE = ["node", "--max-old-space-size=512"]
_COMPILE = Limits(cpu_s=120, wall_s=120.0, memory_bytes=0)
_RUN = Limits(cpu_s=300, wall_s=300.0, memory_bytes=0, data_bytes=2 << 30)
_ERROR = re.compile(r"^case_(\d+)\.ts\(\d+,\d+\): error (TS\d+): (.*)$", re.MULTILINE)
_SYNTAX_ERRORS = range(1000, 2000)
_RUNNER = """
const vm = require("vm"), fs = require("fs");
const sorted = (value) => Array.isArray(value) ? value.map(sorted)
  : value && typeof value === "object"
    ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
  : value === undefined ? null : value;
for (const number of JSON.parse(process.argv[2])) {
  let verdict = [false, "nothing was checked"];
  try {
    const report = (right, why) => { verdict = [right, why]; };
    const context = vm.createContext({ exports: {}, report, text: (value) => JSON.stringify(sorted(value)) },
      { microtaskMode: "afterEvaluate" });
    vm.runInContext(fs.readFileSync(`case_${number}.js`, "utf8"), context, { timeout: 1000 });
  } catch (error) {
    verdict = [false, String(error)];
  }
  process.stdout.write(JSON.stringify([number, ...verdict]) + "\\n");
}
"""


class TypeScript:
    name, spoken, none, record_kind = "typescript", "TypeScript", "undefined", "interface"
    _types = {"int": "number", "str": "string", "bool": "boolean", "{int}": "Record<string, number>"}

    @staticmethod
    def type(type_: str) -> str:
        if type_.endswith("?"):
            return f"{TypeScript.type(type_[:-1])} | undefined"
        if type_.startswith("["):
            return f"{TypeScript.type(type_[1:-1])}[]"
        return TypeScript._types.get(type_, type_.lstrip("@"))

    @staticmethod
    def header(name: str, params: Fields, returns: str) -> str:
        listed = ", ".join(f"{each}: {TypeScript.type(type_)}" for each, type_ in params)
        return f"function {name}({listed}): {TypeScript.type(returns)}"

    @staticmethod
    def function(header: str, body: str) -> str:
        return f"{header} {{\n" + "\n".join(f"  {line}" for line in body.split("\n")) + "\n}"

    @staticmethod
    def shown(record: Record) -> str:
        return f"{record.name} {{ {'; '.join(f'{name}: {TypeScript.type(type_)}' for name, type_ in record.fields)} }}"

    @staticmethod
    def define(record: Record) -> str:
        lines = "\n".join(f"  {name}: {TypeScript.type(type_)};" for name, type_ in record.fields)
        return f"interface {record.name} {{\n{lines}\n}}"

    @staticmethod
    def literal(value: Any, type_: str, records: dict[str, Record]) -> str:
        if type_.startswith("[@"):
            return f"[{', '.join(TypeScript.literal(each, type_[1:-1], records) for each in value)}]"
        if type_.startswith("@"):
            pairs = zip(records[type_[1:]].fields, value, strict=True)
            return f"{{ {', '.join(f'{name}: {json.dumps(each)}' for (name, _), each in pairs)} }}"
        return "undefined" if value is None else json.dumps(value)


def compiler() -> str | None:
    """``tsc``: the program that ``XPM_TSC`` names, or the one on the path, if it and Node
    work where answers are run."""
    tsc = os.environ.get("XPM_TSC") or shutil.which("tsc")
    return tsc if tsc and shutil.which("node") and _works(tsc) else None


@cache
def _works(tsc: str) -> bool:
    with scratch_folder() as folder:
        return all(run([each, "--version"], folder, limits=_COMPILE).returncode == 0 for each in (tsc, "node"))


def judge_typescript(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    tsc = compiler()
    assert tsc is not None
    return _judge_together(tsc, [_module(row, answer) for row, answer in zip(rows, answers, strict=True)])


def _judge_together(tsc: str, modules: list[str]) -> list[Verdict]:
    """Judge cases in one compiler run; in halves if it does not say, or not soon, which of them it fails on."""
    with scratch_folder() as folder:
        for number, module in enumerate(modules):
            (folder / f"case_{number}.ts").write_text(module, encoding="utf-8")
        errors = _compile(tsc, folder, len(modules))
        if errors is None and len(modules) == 1:
            return [Verdict(right=False, parses=True, reason="the compiler fails on it")]
        if errors is None:
            half = len(modules) // 2
            return _judge_together(tsc, modules[:half]) + _judge_together(tsc, modules[half:])
        outcomes = _execute(folder, [number for number in range(len(modules)) if number not in errors])
    verdicts = []
    for number in range(len(modules)):
        if number in errors:
            code, message = errors[number]
            verdicts.append(
                Verdict(right=False, parses=int(code[2:]) not in _SYNTAX_ERRORS, reason=f"{code}: {message}")
            )
        else:
            right, reason = outcomes.get(number, (False, "the judge's process ended early"))
            verdicts.append(Verdict(right=right, parses=True, reason=reason))
    return verdicts


def _compile(tsc: str, folder: Path, count: int) -> dict[int, tuple[str, str]] | None:
    """Case -> (error code, message) of its first error; None if the compiler fails and names no case.

    What compiles is written as JavaScript.

    The compiler looks at types only where no file has a syntax error, so those that have one are taken out first.
    """
    (folder / "tsconfig.json").write_text(json.dumps(_CONFIG))
    errors: dict[int, tuple[str, str]] = {}
    while len(errors) < count:
        done = run([tsc, "--project", ".", "--pretty", "false"], folder, limits=_COMPILE)
        found = [
            (int(number), code, message)
            for number, code, message in _ERROR.findall(done.stdout.decode(errors="replace"))
            if int(number) not in errors
        ]
        if done.returncode and not found:
            return None
        malformed = {number for number, code, _ in found if int(code[2:]) in _SYNTAX_ERRORS}
        for number, code, message in found:
            if number in malformed or not malformed:
                errors.setdefault(number, (code, message))
        for number in malformed:
            (folder / f"case_{number}.ts").unlink()
        if not malformed:
            break
    return errors


_CONFIG = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "lib": ["es2022"],
        "module": "esnext",
        "moduleDetection": "force",
        "types": [],
        "noEmitOnError": False,
        "skipLibCheck": True,
    },
    "include": ["*.ts"],
}


def _execute(folder: Path, numbers: list[int]) -> dict[int, tuple[bool, str]]:
    for number in numbers:  # a script in a context, not a module
        path = folder / f"case_{number}.js"
        if path.is_file():
            path.write_text(
                re.sub(r"^export \{\};?$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8"
            )
    (folder / "run.cjs").write_text(_RUNNER)
    outcomes: dict[int, tuple[bool, str]] = {}
    while numbers:
        done = run([*_NODE, "run.cjs", json.dumps(numbers)], folder, limits=_RUN)
        for line in done.stdout.decode(errors="replace").splitlines():
            number, right, reason = json.loads(line)
            outcomes[number] = (bool(right), "" if right else str(reason))
        numbers = [number for number in numbers if number not in outcomes][1:]  # what ended the process is lost
    return outcomes


def _module(row: Row, answer: str) -> str:
    check = row["check"]
    records = records_of(check)
    lines = [
        "declare function report(right: boolean, why: string): void;",
        "declare function text(value: unknown): string;",
    ]
    if check.get("define"):
        record = next(iter(records.values()))
        values = [{"int": 1, "str": "one", "bool": True}[type_] for _, type_ in record.fields]
        literal = TypeScript.literal(values, f"@{record.name}", records)
        lines += [answer, f"const made: {record.name} = {literal};", 'report(text(made).length > 0, "");']
        for name, type_ in record.fields:
            lines.append(f"const _{name}: {TypeScript.type(type_)} = made.{name};")
        return "\n".join([*lines, "export {};", ""])
    lines += [TypeScript.define(record) for record in records.values()]
    lines += [answer, "(() => {"]
    for arguments, wanted in check["tests"]:
        literals = [
            TypeScript.literal(value, type_, records)
            for value, (_, type_) in zip(arguments, check["params"], strict=True)
        ]
        want = TypeScript.literal(wanted, check["returns"], records)
        returns = TypeScript.type(check["returns"])
        call = f"{check['name']}({', '.join(literals)})"
        lines.append(f"  {{ const got: {returns} = {call}; const want: {returns} = {want};")
        told = f"{json.dumps(call)} + ' is ' + text(got)"
        lines.append(f"    if (text(got) !== text(want)) {{ report(false, {told}); return; }} }}")
    return "\n".join([*lines, '  report(true, "");', "})();", "export {};", ""])


TYPESCRIPT = Language(
    name="typescript",
    judge=judge_typescript,
    check=CODE_CHECK,
    syntax_error=tree_sitter("tree_sitter_typescript", "language_typescript"),
    compiler=lambda: compiler(),
    comment="// ",
)
