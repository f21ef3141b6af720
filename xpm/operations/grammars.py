"""Grammars from files, for the runtime."""

from pathlib import Path
from typing import TYPE_CHECKING

from xpm.errors import UsageError

if TYPE_CHECKING:
    from xpm_runtime import Grammar
    from xpm_runtime.grammar import GrammarKind

_KINDS: dict[str, "GrammarKind"] = {".gbnf": "gbnf", ".lark": "lark", ".regex": "regex", ".json": "json_schema"}


def read_grammar(file: Path, *, kind: "GrammarKind | str" = "") -> "Grammar":
    """The grammar in a file, of the kind that its ending says unless ``kind`` does.

    Raises:
        UsageError: it can't be read, or its ending says nothing. ConstraintError: it is too large.
    """
    from xpm_runtime.grammar import Grammar

    found = kind or _KINDS.get(file.suffix.lower(), "")
    if not found:
        raise UsageError(
            f"the ending of {file} does not say what kind of grammar it is", hint=f"name it {', '.join(_KINDS)}"
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the grammar {file} can't be read", context=str(error)[:200]) from error
    return Grammar(kind=found, text=text.rstrip("\n") if found == "regex" else text)  # type: ignore[arg-type]
