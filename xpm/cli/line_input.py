"""What a person types, line by line: with history and editing on a terminal that can, plainly elsewhere."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from xpm.cli.render import use_colour
from xpm.errors import UsageError

if TYPE_CHECKING:
    pass

_PROMPT = "> "
_COLOUR = "\x1b[36;1m"


class LineInput(Protocol):
    """``is_terminal``: a person types, who can be asked again."""

    is_terminal: bool

    def read(self) -> str:
        """The next line; raises EOFError at the end, KeyboardInterrupt if it is broken off."""
        ...


def line_input(history: Path, commands: Sequence[str]) -> LineInput:
    """What fits stdin: an editor where both ends are terminals that can move the cursor.

    Args:
        history: the file of what was typed before; only its owner may read it.
        commands: completed at the beginning of a line.
    """
    if not sys.stdin.isatty():
        return _Script()
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", ""):
        return _Plain()
    return _Editor(history, commands)


class _Script:
    """The lines of a file or a pipe."""

    is_terminal = False

    def read(self) -> str:
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        try:
            return line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(
                "stdin is not UTF-8", context=str(error)[:200], hint="convert it, e.g. with iconv"
            ) from error


class _Plain:
    """A terminal that shows what is written, and no more."""

    is_terminal = True

    def read(self) -> str:
        sys.stderr.write(_PROMPT)
        sys.stderr.flush()
        try:
            if line := sys.stdin.readline():
                return line.rstrip("\r\n")
            raise EOFError
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")  # what is said next has a line of its own
            raise


class _Editor:
    """prompt_toolkit's editor: arrows, history, Ctrl-R, a pasted text as one turn; Alt-Enter begins a new line.

    Ctrl-C clears a line in which something stands, and breaks off one that is empty.
    """

    is_terminal = True

    def __init__(self, history: Path, commands: Sequence[str]) -> None:
        self._read = _session(history, commands)

    def read(self) -> str:
        return self._read()


def _session(history: Path, commands: Sequence[str]) -> Callable[[], str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.formatted_text import ANSI
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    history.parent.mkdir(parents=True, exist_ok=True)
    history.touch(mode=0o600)
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(history)),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
    )
    shown = ANSI(f"{_COLOUR}{_PROMPT}\x1b[0m") if use_colour(sys.stdout) else _PROMPT
    return lambda: session.prompt(shown)
