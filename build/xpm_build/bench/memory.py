"""What the engine's formula says is in memory, beside what the system says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROBE = """
import json, re, sys
from pathlib import Path
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
base, tokens, *slots = sys.argv[1:]
engine = Engine.load(Path(base), device="cpu", context=int(tokens) + 8)
names = [engine.attach(AdapterSpec.read(str(number), Path(path))).name for number, path in enumerate(slots)]
sequence = engine.submit(Request(prompt=[5] * int(tokens), experts=tuple(names), sampling=SamplingParams(max_tokens=8)))
while len(sequence.token_ids) < 4 and not sequence.is_finished:
    engine.step()
formula = engine.memory()
real = {}
path = Path("/proc/self/smaps_rollup")
if path.is_file():
    found = re.findall(r"^(Rss|Pss|Anonymous):\\s+(\\d+) kB", path.read_text(), re.M)
    real = {key: 1024 * int(value) for key, value in found}
fields = ("fixed", "weights", "cache", "adapters", "prefix", "total")
by_formula = {name: getattr(formula, name) for name in fields}
print(json.dumps({"kernels": engine.kernels, "formula": by_formula, "real": real}))
"""


def run_memory(base: Path, *, tokens: int, adapters: list[Path]) -> dict[str, Any]:
    """Load a base in a process of its own, answer a prompt of ``tokens`` tokens, and compare; all in bytes."""
    command = [sys.executable, "-c", _PROBE, str(base), str(tokens), *map(str, adapters)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer
