"""How one request keeps its keys and values: in how many bits, and of which tokens."""

from dataclasses import dataclass

from xpm_runtime.errors import RequestError

KINDS = {"float": (16, 16), "int8": (8, 8), "k8v4": (8, 4)}
"""By their names, the bits of a key's and of a value's numbers; "float" is as the graph keeps them,
in float16 for our kernels."""
LEAST_WINDOW = 16
_MOST_WINDOW = 1 << 24
_SINKS = 4  # as many as StreamingLLM (arXiv 2309.17453) found to be enough


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """``kind`` is one of ``KINDS``: whole numbers have a scale for each token and head.

    With a ``window`` a token looks at the last so many, itself among them, and at the first ``sinks`` of the request (4
    if None); what nobody looks at any more takes no memory.
    """

    kind: str = "float"
    window: int | None = None
    sinks: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RequestError(f"{self.kind[:40]!r} is no way to keep keys and values", hint=f"there are {_names()}")
        if self.window is None:
            if self.sinks is not None:
                raise RequestError("sinks were asked for without a window", hint="give a window, too")
            return
        if not LEAST_WINDOW <= self.window <= _MOST_WINDOW:
            raise RequestError(f"the window is {self.window} tokens", hint=f"{LEAST_WINDOW} to {_MOST_WINDOW:,}")
        if self.sinks is None:
            object.__setattr__(self, "sinks", _SINKS)
        elif not 0 <= self.sinks <= self.window // 2:
            raise RequestError(
                f"there are to be {self.sinks} sinks", hint=f"none, or at most half of the window: {self.window // 2}"
            )

    def __str__(self) -> str:
        return self.kind if self.window is None else f"{self.kind}, window {self.window}, sinks {self.sinks}"

    @property
    def bits(self) -> tuple[int, int]:
        """Of a key's numbers, and of a value's."""
        return KINDS[self.kind]

    @property
    def is_plain(self) -> bool:
        """Whether everything is kept as the graph has it."""
        return self.kind == "float" and self.window is None

    @property
    def span(self) -> int | None:
        """How far apart tokens that see each other may be for the base; None for as far as the request is long."""
        return None if self.window is None else self.window + (self.sinks or 0)


def _names() -> str:
    return ", ".join(KINDS)
