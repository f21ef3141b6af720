"""The grammars that come with the runtime, and which one a manifest's ``decoding`` asks for."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from xpm_runtime.errors import ConstraintError
from xpm_runtime.grammar import KINDS, Grammar, GrammarKind
from xpm_runtime.grammars.narrowed import narrowed
from xpm_runtime.grammars.schema import read_schema

BUILT_IN = ("json", "sql", "cypher")
KIND_OF_ENDING: Mapping[str, GrammarKind] = {
    ".gbnf": "gbnf",
    ".lark": "lark",
    ".regex": "regex",
    ".json": "json_schema",
}
SHIPPED = "grammar.gbnf"
_OTHER_NAMES = {"sqlite": "sql", "neo4j": "cypher"}


@cache
def built_in(name: str) -> Grammar:
    """One of ``BUILT_IN``: an object or array of JSON, one statement of SQL, one query of Cypher."""
    if name == "json":
        return Grammar.of_schema({"type": ["object", "array"]})
    text = resources.files(__name__).joinpath(f"{name}.lark").read_text(encoding="utf-8")
    return Grammar(kind="lark", text=text)


def for_prompt(name: str, prompt: str) -> Grammar:
    """A built-in grammar; of SQL and Cypher with the names of the schema in the prompt as the
    only ones, if it has one."""
    return narrowed(built_in(name), name, read_schema(prompt))


def read_grammar(file: Path, kind: GrammarKind) -> Grammar:
    """Raises ConstraintError if the file can't be read, or is too large."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConstraintError(f"the grammar {file} can't be read", context=str(error)[:200]) from error
    return Grammar(kind=kind, text=text.rstrip("\r\n") if kind == "regex" else text)


def agreed(stated: Iterable[Grammar | None]) -> Grammar | None:
    """The grammar that experts who act together ask for; None if none does, or if they ask for different ones."""
    found = {each for each in stated if each is not None}
    return found.pop() if len(found) == 1 else None


def stated_grammar(decoding: Mapping[str, Any], folder: Path, prompt: str = "") -> Grammar | None:
    """What answers of an expert must match: None unless ``use_grammar`` is true.

    It is the file named by ``grammar_file``, else ``grammar.gbnf`` if the package has one, else the built-in grammar
    that ``grammar_type`` names, by itself or in front of a dialect (``sql_postgres``).

    Args:
        folder: the unpacked package.
        prompt: whose schema a built-in grammar takes its names from.
    Raises:
        ConstraintError: there is no such grammar, or it can't be read.
    """
    if decoding.get("use_grammar") is not True:
        return None
    stated, file = str(decoding.get("grammar_type") or "").lower(), str(decoding.get("grammar_file") or "")
    if not file and (folder / SHIPPED).is_file():
        file = SHIPPED
    if file:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise ConstraintError("decoding.grammar_file leads out of the package", context=file[:120])
        named = next((kind for kind in KINDS if kind == stated), None)
        return read_grammar(folder / path, named or KIND_OF_ENDING.get(path.suffix.lower(), "gbnf"))
    name = stated.replace("-", "_").split("_")[0]
    name = _OTHER_NAMES.get(name, name)
    if name not in BUILT_IN:
        raise ConstraintError(
            "decoding.use_grammar is true, and there is no grammar",
            context=f"grammar_type is {stated[:40]!r}, and the package has no {SHIPPED}",
            hint=f"name a grammar_file, or one of {', '.join(BUILT_IN)} as grammar_type",
        )
    return for_prompt(name, prompt)
