"""Text that comes from outside: UTF-8, or an error that says so."""

import sys
from collections.abc import Sequence
from pathlib import Path

from xpm.errors import UsageError

STDIN = Path("-")


def stdin_text() -> str:
    """All of stdin, whatever encoding the terminal has; raises UsageError if it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("stdin is not UTF-8", context=str(error)[:200], hint="convert it, e.g. with iconv") from error


def read_prompt_text(given: str | None, file: Path | None, attached: Sequence[Path] = ()) -> str:
    """The prompt from where it is: the command line, a file, or stdin; in front of it the files that are attached.

    These have their names above their content; where they are all there is, a single one is the prompt as it is.

    Raises:
        UsageError: there is no prompt, or two, or what is read is no text.
    """
    if file is not None and given is not None:
        raise UsageError("the prompt is given twice", hint="leave out PROMPT or --prompt-file")
    if [given == "-", *(each == STDIN for each in attached)].count(True) > 1:
        raise UsageError("stdin is to be read twice", hint="write `-` once")
    if file is None and given is None and not attached and sys.stdin.isatty():
        raise UsageError("there is no prompt", hint='write it: xpm run "…", name a --prompt-file, or pipe it in')
    try:
        if file is not None:
            text = file.read_bytes().decode().strip()
        elif given == "-" or (given is None and not attached):
            text = stdin_text().strip()
        else:
            text = given or ""
            text.encode()
        parts = [("stdin" if each == STDIN else each.name, _content(each)) for each in attached]
    except UnicodeError as error:
        raise UsageError("the prompt is not UTF-8", context=str(error)[:200]) from error
    if not text.strip() and len(parts) == 1:
        text, parts = parts[0][1], []
    text = "\n\n".join([*(f"{name}:\n{content}" for name, content in parts), *([text] if text.strip() else [])])
    if not text.strip():
        raise UsageError("the prompt is empty")
    return text


def _content(file: Path) -> str:
    if file == STDIN:
        return stdin_text().strip()
    try:
        return file.read_bytes().decode().strip()
    except OSError as error:
        raise UsageError(f"{file} cannot be read", context=error.strerror) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8", context=str(error)[:200], hint="convert it, e.g. with iconv"
        ) from error
