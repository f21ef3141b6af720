"""Text that comes from outside: UTF-8, or an error that says so."""

import sys

from xpm.errors import UsageError


def stdin_text() -> str:
    """All of stdin, whatever encoding the terminal has; raises UsageError if it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("stdin is not UTF-8", context=str(error)[:200], hint="convert it, e.g. with iconv") from error
