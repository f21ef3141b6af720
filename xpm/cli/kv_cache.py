"""The options that say how a request keeps its keys and values, for every command that loads a base."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from xpm_runtime import CacheSettings

_OPTIONS = (
    click.option(
        "--kv-cache",
        type=click.Choice(["float", "int8", "k8v4"]),
        help="Keep keys and values in 8 bits, or values in 4: half the memory of a long text, or two fifths.",
    ),
    click.option(
        "--window", type=click.IntRange(1), metavar="TOKENS", help="Look at so many of the last tokens, and no others."
    ),
    click.option(
        "--sinks",
        type=click.IntRange(0),
        metavar="TOKENS",
        help="With --window: and at so many of the first; 4 by default.",
    ),
)


def cache_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --kv-cache, --window and --sinks."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def cache_setting(kv_cache: str | None, window: int | None, sinks: int | None) -> "CacheSettings | None":
    """What the options say, checked; None if none was given. Raises RequestError."""
    if kv_cache is None and window is None and sinks is None:
        return None
    from xpm_runtime import CacheSettings

    return CacheSettings(kind=kv_cache or "float", window=window, sinks=sinks)
