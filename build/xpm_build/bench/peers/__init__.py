"""The programs that are compared, each in a process of its own (`python -m xpm_build.bench.peers`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol


class Peer(Protocol):
    """Prefills a prompt into an empty cache; decodes behind what was prefilled."""

    load_ms: float
    attach_ms: float
    description: str

    def prefill(self, ids: list[int]) -> None: ...

    def decode(self, token: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """``name`` on the command line, ``title`` in tables; ``place`` is its class; ``needs`` the modules that it takes.

    ``reads``: "gguf" or "folder" (a Hugging Face one).
    """

    name: str
    title: str
    place: str
    needs: tuple[str, ...]
    package: str
    reads: str

    @property
    def is_installed(self) -> bool:
        return all(find_spec(module) is not None for module in self.needs)


PROGRAMS = (
    Program(
        name="llama.cpp",
        title="llama.cpp",
        place="llama:LlamaPeer",
        needs=("llama_cpp", "gguf"),
        package="llama-cpp-python",
        reads="gguf",
    ),
    Program(
        name="ik_llama.cpp",
        title="ik_llama.cpp",
        place="llama:IkLlamaPeer",
        needs=("ik_llama_cpp", "llama_cpp", "gguf"),
        package="ik-llama-cpp-python",
        reads="gguf",
    ),
    Program(
        name="peft",
        title="Transformers + PEFT bf16",
        place="peft:PeftPeer",
        needs=("peft", "torch"),
        package="peft",
        reads="folder",
    ),
)
"""What xpm is measured beside. Another one is a line here and a class in a file of its own."""


def reads_gguf(peers: Sequence[str]) -> bool:
    """Whether one of the named programs reads GGUF files."""
    return any(each.reads == "gguf" for each in PROGRAMS if each.name in peers)
