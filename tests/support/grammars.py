"""Grammars for tests."""

from functools import cache

from xpm_runtime.constraint import Constraints
from xpm_runtime.vocabulary import ByteVocabulary

THOUSAND_RULES = "root ::= r0\n" + "\n".join(
    f'r{number} ::= "key{number} " r{(number * 7 + 1) % 1000} | [a-c]+ r{(number * 3 + 7) % 1000} | "end"'
    for number in range(1000)
)


@cache
def byte_constraints() -> Constraints:
    """For texts byte by byte; 256 ends one."""
    return Constraints(ByteVocabulary)
