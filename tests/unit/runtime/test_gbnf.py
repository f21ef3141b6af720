"""GBNF becomes Lark that means the same: what it allows, and what is wrong with it."""

import pytest

from tests.support.grammars import THOUSAND_RULES
from xpm_runtime import ConstraintError, Grammar
from xpm_runtime.constraint import fitting
from xpm_runtime.gbnf import MAX_DEPTH, MAX_RULES, to_lark

SUMS = r"""
# sums, left-recursive, with blanks that may be absent
root ::= ws sum ws
sum  ::= sum ws "+" ws term
       | sum ws "-" ws term   # from the left
       | term
term ::= [0-9]{1,3} | "(" ws sum ws ")"
ws   ::= ([ \t\n] ws)?
"""
SELECT = """
root ::= "SELECT" gap columns gap "FROM" gap name tail? ";"
columns ::= columns ws "," ws name | name | "*"
tail ::= tail gap "AND" gap test | gap "WHERE" gap test
test ::= name ws ("=" | "<" | ">") ws [0-9]+
name ::= [a-zA-Z_]+
gap ::= ws [ ] ws
ws ::= [ \\n]*
"""
MATCH = """
root ::= path
path ::= path ws edge ws node |
         node
edge ::= ("-" | "<-") "[:" [A-Z_]+ "]" ("->" | "-")
node ::= "(" ws [a-z]* ws ":"? [A-Z]? [a-z]* ws ")"
ws ::= " "*
"""


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        (SUMS, ["1", " 1 +2-\n( 3+4)", "((7))"], ["", "1+", "1234", "(1"]),
        (
            SELECT,
            ["SELECT * FROM t;", "SELECT a,b , c FROM t WHERE a=1 AND b < 20;"],
            ["SELECT FROM t;", "SELECT a FROM t"],
        ),
        (MATCH, ["(a)", "(a:B)-[:C_D]->(e) <-[:F]-()"], ["(a", "(a)->(b)"]),
        (THOUSAND_RULES, ["end", "key0 abkey10 end"], ["key1 end", "key0"]),
        ('root ::= "in" "t" "1" | "int" "2"', ["int1", "int2"], ["in1"]),
        ('root ::= [A-Z]+ "(" | "AND" "x"', ["ANDx", "AND(", "ANDA("], ["ANx"]),
        (
            r'root ::= "é\x41\u4e2d\U0001F600\n\"\\" [^\x00-\x1F"\]\\]',
            ['éA中😀\n"\\x', 'éA中😀\n"\\é'],
            ['éA中😀\n"\\]'],
        ),
        ('root ::= "a"? ("b" | "c")* "d"{2,} "e"{0,2} .{0} .', ["dd!", "abcddee\n"], ["d!", "ddeeee"]),
        ('root ::= "a" dead | "c"\ndead ::= "x" dead', ["c"], ["a", "ax"]),
        ('root ::= x{2} "-"\nx ::= "a" | ', ["-", "a-", "aa-"], ["aaa-"]),
    ],
)
def test_a_grammar_allows_what_it_says(grammar, right, wrong):
    found = list(fitting(Grammar(kind="gbnf", text=grammar), [*right, *wrong]))
    assert found == [True] * len(right) + [False] * len(wrong)


@pytest.mark.parametrize(
    ("grammar", "message", "context"),
    [
        ('root ::= "a"\n  | b', "the rule b is not defined", "line 2, column 5: b"),
        ('root ::= "a', "this is no GBNF", 'line 1, column 10: "a'),
        ('root ::= ("a"', "this group is not closed", "line 1, column 10"),
        ('root ::= "a")', "expected a rule", "line 1, column 13"),
        ('start ::= "a"', "no rule root", ""),
        ('root ::= "a" root', "no text fits", "goes on without end"),
        ('root ::= "a"\nroot ::= "b"', "root is defined twice", "line 2"),
        (r'root ::= "a\q"', r"the escape \\q is unknown", "line 1, column 12"),
        (r"root ::= [\uD800]", "is no character", "line 1"),
        ("root ::= *", "nothing stands before this", "line 1"),
        ("root ::= [b-a]", "upside down", "line 1"),
        ("root ::= []", "this class is empty", "line 1"),
        ('root ::= "a"{3,2}', "repeats must be", "line 1"),
        ('root ::= "a"{1000000}', "repeats must be", "line 1"),
        ("root ::= " + "(" * 100_000, f"more than {MAX_DEPTH} deep", "line 1"),
        ("".join(f'r{number} ::= "a"\n' for number in range(MAX_RULES + 1)), "more than 10,000 rules", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(grammar, message, context):
    with pytest.raises(ConstraintError, match=message) as raised:
        to_lark(grammar)
    assert context in (raised.value.context or "")
