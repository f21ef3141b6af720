"""The options of commands that show documents beside a prompt, and what is said of what they leave out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xpm.operations.context_files import LEAST_BUDGET

if TYPE_CHECKING:
    from xpm_runtime.passages.choose import Chosen


def context_options(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add ``context_files`` and ``context_tokens`` to a command; ``default`` says what the
    latter is if it is not given."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        files: Any = click.option(
            "--context-file",
            "context_files",
            type=click.Path(path_type=Path, dir_okay=False),
            multiple=True,
            help="Put what bears on the prompt of this document in front of it, and tell what was left out. "
            "Repeatable.",
        )
        tokens: Any = click.option(
            "--context-tokens",
            type=click.IntRange(LEAST_BUDGET),
            metavar="N",
            help=f"Show so many tokens of them at most; by default {default}.",
        )
        decorated: Callable[..., None] = files(tokens(command))
        return decorated

    return add


def told_of(chosen: "Chosen") -> Iterator[str]:
    """A line for each document of which not all is shown."""
    for each in chosen.documents:
        if each.num_left_out_tokens:
            lines = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in each.lines)
            yield (
                f"{each.name}: shown are {each.num_kept} of {each.num_passages} passages ("
                + (f"lines {lines}; " if lines else "")
                + f"{each.num_left_out_tokens:,} of {each.num_tokens + each.num_left_out_tokens:,} tokens left out)"
            )
