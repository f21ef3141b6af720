"""Grammars for tests, and whether a text fits one, asked without a model."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from xpm_runtime.constraint import Constraints
from xpm_runtime.grammar import Grammar, GrammarKind

_END = 256
THOUSAND_RULES = "root ::= r0\n" + "\n".join(
    f'r{number} ::= "key{number} " r{(number * 7 + 1) % 1000} | [a-c]+ r{(number * 3 + 7) % 1000} | "end"'
    for number in range(1000)
)


def byte_tokenizer() -> Tokenizer:
    """256 bytes and no merges; 256 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={each: number for number, each in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


@cache
def byte_constraints() -> Constraints:
    return Constraints(byte_tokenizer(), _END + 1, [_END])


def allows(kind: GrammarKind, grammar: str, text: str) -> bool:
    """Whether a text fits a grammar, byte by byte and to its end."""
    constraint = byte_constraints().begin(Grammar(kind=kind, text=grammar))
    for token in byte_tokenizer().encode(text).ids:
        if not constraint.allowed()[token]:
            return False
        constraint.accept(token)
    return constraint.is_complete
