"""The grammar of an answer: from a file that the user names, or as the manifests of the experts say."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.errors import UsageError
from xpm.operations.parts import Part

if TYPE_CHECKING:
    from xpm_runtime import Grammar
    from xpm_runtime.grammar import GrammarKind


def grammar_in(file: Path, kind: "GrammarKind | None" = None, *, prompt: str = "") -> "Grammar":
    """The grammar in a file, of the kind that its ending says unless ``kind`` does; or a built-in one, by its name.

    ``prompt``: whose schema a built-in one takes its names from.

    Raises:
        UsageError: its ending says nothing. ConstraintError: it can't be read, or is too large.
    """
    from xpm_runtime.grammars import BUILT_IN, KIND_OF_ENDING, for_prompt, read_grammar

    if kind is None and str(file) in BUILT_IN:
        return for_prompt(str(file), prompt)
    found = kind or KIND_OF_ENDING.get(file.suffix.lower())
    if found is None:
        raise UsageError(
            f"the ending of {file} does not say what kind of grammar it is", hint=f"name it {', '.join(KIND_OF_ENDING)}"
        )
    return read_grammar(file, found)


def stated_by(experts: Sequence[Part], prompt: str) -> "Grammar | None":
    """What the manifests of a composition ask for; None if they ask for different ones
    (``xpm_runtime.grammars.agreed``).

    Raises:
        UsageError: a manifest asks for what is not there; says whose, and how to go without it.
    """
    from xpm_runtime import ConstraintError
    from xpm_runtime.grammars import agreed, stated_grammar

    found = []
    for each in experts:
        try:
            found.append(stated_grammar(each.manifest.decoding if each.manifest else {}, each.folder, prompt))
        except ConstraintError as error:
            raise UsageError(
                f"{each.name}: {error.message}",
                context=error.context,
                hint="tell its publisher; until then give --no-grammar",
            ) from error
    return agreed(found)
