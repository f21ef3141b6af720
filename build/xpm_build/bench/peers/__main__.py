"""One program under test, in a process of its own: reads commands as JSON lines, answers with what it measured.

{"do": "prefill", "tokens": 128}             -> {"ms": ...}
{"do": "decode", "tokens": 48}               -> {"ms": [per token]}
{"do": "facts"}                              -> {"load_ms": ..., "attach_ms": ..., "rss_mb": ..., "what": ...}
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xpm_build.bench.peers import Peer
from xpm_build.processes import peak_memory_bytes

PLACE = "xpm_build.bench.peers"


def serve(peer: Peer, vocab_size: int) -> None:
    """Answer commands until standard input ends."""
    rng = np.random.default_rng(0)

    def some(count: int) -> list[int]:
        return [int(token) for token in rng.integers(2, vocab_size, count)]

    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "facts":
            answer = {
                "load_ms": peer.load_ms,
                "attach_ms": peer.attach_ms,
                "rss_mb": _peak_mb(),
                "what": peer.description,
            }
        elif command["do"] == "prefill":
            ids = some(command["tokens"])
            started = time.perf_counter()
            peer.prefill(ids)
            answer = {"ms": 1e3 * (time.perf_counter() - started)}
        elif command["do"] == "decode":
            times = []
            for token in some(command["tokens"]):
                started = time.perf_counter()
                peer.decode(token)
                times.append(1e3 * (time.perf_counter() - started))
            answer = {"ms": times}
        print(json.dumps(answer), flush=True)


def _peak_mb() -> float:
    """The most that was resident since this program began; the system's own count begins with its parent."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return peak_memory_bytes() / 1e6
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3


def main() -> None:
    """The first argument says which class to make of what, as JSON."""
    settings = json.loads(sys.argv[1])
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    module, _, name = settings["place"].partition(":")
    made = getattr(import_module(f"{PLACE}.{module}"), name)
    adapters = [Path(path) for path in settings["adapters"]]
    serve(made(settings["model"], settings["threads"], adapters, **settings["options"]), settings["vocab_size"])


if __name__ == "__main__":
    main()
