"""Constrained decoding: what tokens a grammar allows next. The only module that imports
llguidance, when it is first needed.

A ``Constraints`` belongs to one tokenizer and compiles grammars for it; a ``Constraint`` follows one text. A
grammar may be anybody's: its size, the time and memory of compiling it and of each step are bounded, and what
exceeds them is an error.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import ConstraintError
from xpm_runtime.gbnf import MAX_RULES, to_lark
from xpm_runtime.grammar import Grammar
from xpm_runtime.time_limit import TimeLimit
from xpm_runtime.vocabulary import ByteVocabulary, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

COMPILE_S = 0.8  # of a processor's time
_NUM_KEPT = 32  # compiled grammars
_NUM_COMPILING = 2  # at once, those that were given up among them
_MAX_DEPTH = 100  # of brackets in a regular expression or in Lark
_LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 500_000,
    "step_lexer_fuel": 1_000_000,
    "step_max_items": 1_000_000,
    "max_items_in_row": 2_000,
    "max_lexer_states": 50_000,  # of one to two kB
    "max_grammar_size": 500_000,
    "verbose_errors": False,
}
# Between the parts of JSON: at most one line end and an indent, or a model that likes blanks never ends.
_JSON = {"whitespace_pattern": r"(\r?\n)?[ \t]{0,80}", "lenient": False, "coerce_one_of": False}
_TOO_LARGE = ("too big", "too large", "too many", "too complex", "limit", "fuel", "Unable to determine")
_IN_LARK = re.compile(r"^at \d+\(\d+\): failed to compile JSON schema: ")
_LARK_RULE = re.compile(r"^\s*[?!]?[A-Za-z_]\w*[^:\n]*:", re.MULTILINE)

Allowed = NDArray[np.bool_]


class Constraint:
    """The state of one text under a grammar."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def copy(self) -> "Constraint":
        return Constraint(self._matcher.deep_copy(), self._vocab_size)

    def allowed(self) -> Allowed:
        """bool (vocab,): the tokens that may come next; those that end the text are among them where it may end.

        Raises:
            ConstraintError: the grammar is too complex here, or nothing may follow.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed: Allowed = np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)
        if not allowed.any():
            raise ConstraintError("the grammar leads to where nothing may follow", hint="mend the grammar")
        return allowed

    def allows(self, tokens: list[int]) -> bool:
        """Whether all of these, of which none ends the text, may come next; far cheaper than ``allowed``."""
        return self.num_allowed(tokens) == len(tokens)

    def num_allowed(self, tokens: list[int]) -> int:
        """How many of these, of which none ends the text, may come next, one after the other."""
        count = int(self._matcher.validate_tokens(tokens))
        self._check()
        return count

    def accept(self, tokens: list[int]) -> None:
        """Go on behind ``tokens``, which are allowed and do not end the text."""
        self._matcher.consume_tokens(tokens)
        self._check()

    def forced(self) -> list[int]:
        """The tokens that must come next, as the tokenizer writes their text; a last one that could go on
        differently is not among them."""
        forced = list(self._matcher.compute_ff_tokens())
        self._check()
        return forced

    @property
    def is_complete(self) -> bool:
        """Whether the text may end here."""
        return bool(self._matcher.is_accepting())

    @property
    def is_closed(self) -> bool:
        """Whether the text must end here."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _error_of(self._matcher.get_error())


class ByteConstraint(Constraint):
    """Of a text whose tokens are bytes."""

    def copy(self) -> "ByteConstraint":
        return ByteConstraint(self._matcher.deep_copy(), self._vocab_size)

    def next_bytes(self) -> bytes:
        """The bytes that may come next, in ascending order; none where the grammar is too complex."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return np.flatnonzero(np.unpackbits(bits, count=256, bitorder="little")).astype(np.uint8).tobytes()

    def take(self, text: bytes) -> bool:
        """Go on behind ``text`` if it may come next; else nothing can be said of this state any more."""
        return bool(self._matcher.try_consume_tokens(list(text)) == len(text)) and not self._matcher.is_error()

    def forced_bytes(self) -> bytes:
        """The bytes that must come next."""
        return bytes(self._matcher.compute_ff_bytes())


class Constraints:
    """Compiles grammars for one vocabulary, which is made when it is first needed, and keeps the last of them.

    Any thread may ask.
    """

    def __init__(self, vocabulary: Callable[[], Vocabulary]) -> None:
        self._vocabulary = vocabulary
        self.special: frozenset[int] = frozenset()  # tokens that are no text; known once a grammar was compiled
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._compiling = TimeLimit(_NUM_COMPILING)

    def begin(self, grammar: Grammar) -> Constraint:
        """The constraint of a text that is empty yet.

        Raises:
            ConstraintError: the grammar is malformed, unsupported, allows no text, or takes too long to compile.
        """
        return Constraint(self._compiled(grammar).deep_copy(), self._opened().vocab_size)

    def begin_bytes(self, grammar: Grammar) -> ByteConstraint:
        """The same, of a vocabulary of bytes."""
        return ByteConstraint(self._compiled(grammar).deep_copy(), self._opened().vocab_size)

    def encode(self, text: bytes) -> list[int]:
        """The tokens of a text, none of them special."""
        return list(self._opened().tokenize_bytes(text))

    def decode(self, tokens: Sequence[int]) -> bytes:
        return bytes(self._opened().decode_bytes(list(tokens)))

    def _compiled(self, grammar: Grammar) -> "LLMatcher":
        tokenizer, matcher = self._opened(), self._known(grammar)
        if matcher is not None:
            return matcher
        try:
            return self._compiling.run(lambda: self._compile(tokenizer, grammar), seconds=COMPILE_S)
        except TimeoutError:
            raise ConstraintError(
                f"the grammar takes longer than {COMPILE_S:g} s to compile",
                hint="make it smaller, with fewer alternatives, repeats or patterns",
            ) from None

    def _known(self, grammar: Grammar) -> "LLMatcher | None":
        with self._lock:
            if grammar in self._kept:
                self._kept.move_to_end(grammar)
            return self._kept.get(grammar)

    def _compile(self, tokenizer: "LLTokenizer", grammar: Grammar) -> "LLMatcher":
        from llguidance import LLMatcher, LLParserLimits

        matcher = LLMatcher(tokenizer, _source_of(grammar), log_level=0, limits=LLParserLimits(**_LIMITS))
        Constraint(matcher, tokenizer.vocab_size).allowed()
        with self._lock:
            self._kept[grammar] = matcher
            while len(self._kept) > _NUM_KEPT:
                self._kept.popitem(last=False)
        return matcher

    def _opened(self) -> "LLTokenizer":
        """llguidance's view of the tokenizer; takes a second for a large vocabulary, once."""
        with self._lock:
            if self._tokenizer is None:
                from llguidance import LLTokenizer

                vocabulary = self._vocabulary()
                self.special = frozenset(vocabulary.special_token_ids)
                self._tokenizer = LLTokenizer(vocabulary, eos_token=vocabulary.eos_token_ids)  # type: ignore[arg-type]
            return self._tokenizer


def fitting(grammar: Grammar, texts: Iterable[str]) -> Iterator[bool]:
    """Whether each text fits a grammar as a whole; raises ConstraintError if that does not compile."""
    start = Constraints(ByteVocabulary).begin_bytes(grammar)

    def fits(text: str) -> bool:
        state = start.copy()
        return state.take(text.encode()) and state.is_complete

    return map(fits, texts)


def _source_of(grammar: Grammar) -> str:
    """A grammar in llguidance's own form."""
    from llguidance import LLMatcher

    match grammar.kind:
        case "gbnf":
            return LLMatcher.grammar_from_lark(to_lark(grammar.text))
        case "json_schema":
            schema = _checked_schema(grammar.text)
            return LLMatcher.grammar_from_json_schema(schema, overrides=_JSON)  # type: ignore[arg-type]
        case "regex":
            _check_depth(grammar.text)
            return LLMatcher.grammar_from_regex(grammar.text)
    _check_depth(grammar.text)
    if len(_LARK_RULE.findall(grammar.text)) > MAX_RULES:
        raise ConstraintError(f"the grammar has more than {MAX_RULES:,} rules", hint="make it smaller")
    return LLMatcher.grammar_from_lark(grammar.text)


def _checked_schema(text: str) -> str:
    try:
        schema: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConstraintError("the JSON Schema is no JSON", context=str(error)[:200]) from error
    if schema is False:
        raise ConstraintError("no JSON is valid under the schema false")
    if schema is True:
        return "{}"
    if not isinstance(schema, dict):
        raise ConstraintError("a JSON Schema is an object", context=f"got {text[:80]}")
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            least = part.get("minProperties")
            if isinstance(least, int) and least > 1 and part.get("additionalProperties") is not False:
                # A key that is written twice counts once.
                raise _unenforced("minProperties above 1 where keys are free")
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return text


def _check_depth(text: str) -> None:
    """Raise ConstraintError if brackets are nested deeper than a recursive parser should follow."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth > _MAX_DEPTH:
            raise ConstraintError(f"the grammar has brackets more than {_MAX_DEPTH} deep", hint="make it flatter")


def _unsupported(said: str) -> str:
    """The keywords of a JSON Schema that llguidance refuses; "" if it complains of something else."""
    if said.startswith("Unimplemented keys: "):
        return ", ".join(json.loads(said.removeprefix("Unimplemented keys: ")))
    if said.startswith("Unknown format: "):
        return f"the format {said.removeprefix('Unknown format: ')}"
    if said.startswith("oneOf constraints are not supported"):
        return "oneOf, of options that can hold together"
    return "minProperties or maxProperties" if said.startswith("min/maxProperties") else ""


def _unenforced(what: str) -> ConstraintError:
    return ConstraintError(
        f"the JSON Schema uses what can't be enforced: {what}", hint="take it out, and check it in what was written"
    )


def _error_of(said: str) -> ConstraintError:
    """llguidance's message as an error of ours."""
    first, *rest = said.removesuffix("<non-verbose/>").strip().split("\n")
    if within := _IN_LARK.match(first):
        first, rest = first[within.end() :], []  # the rest are the lines of our own around the schema
    detail = " ".join(" ".join(rest).split())[:200] or None
    if unsupported := _unsupported(first):
        return _unenforced(unsupported)
    if any(each in first for each in _TOO_LARGE):
        return ConstraintError("the grammar is too large or too complex", context=first[:200], hint="make it smaller")
    return ConstraintError("the grammar can't be used", context=" ".join(filter(None, (first[:300], detail))))
