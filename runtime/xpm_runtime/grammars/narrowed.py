"""The grammars of SQL and Cypher with a prompt's own tables, columns, labels and properties as the only ones.

A statement over one table has the columns of that table alone. Over several, what is named behind a table or its short
name is a column of that table; a short name that begins as one table alone does is that table's. Tables are made,
altered and dropped where the prompt may ask for that. Where the prompt states a condition, what updates or deletes has
one too, that tells rows apart: it begins with a column. In Cypher, what is in quotes are words of the prompt, one after
the other, or begins with a digit; SQL has more that no prompt says (days that a month ends with, formats). Everything
else is the built-in grammar.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from string import ascii_letters

from xpm_runtime.grammar import Grammar
from xpm_runtime.grammars.schema import PromptSchema

_MAX_SCOPES = 12
_MAX_WORDS = 4000  # characters
_RULE = re.compile(r"^([a-z]\w*): (.*(?:\n    \|.*)*)", re.MULTILINE)
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Rules that lead to columns, of which each table has a copy.
_SCOPED = (
    "core rest starred star results result orders order condition conjunction negation predicate test values value "
    "term reference call window cases setting qualifier column sure sure_one rows row"
).split()
_DEFINING = "definition renamed defined type attribute references constraint new".split()
_CHANGES = ("insert", "update", "delete")
_WHERE = "W WHERE W sure"
_MAYBE_WHERE = "(W WHERE W sure)?"
_SURE = {  # conditions that tell rows apart
    "sure": "sure_one (W (AND | OR) W sure_one)*",
    "sure_one": '(NOT W)? reference sure_test | "(" w sure w ")"',
    "sure_test": 'w COMPARISON w (literal | "(" w select w ")") | W (NOT W)? LIKE W STRING'
    ' | W (NOT W)? IN w "(" w (select | literal (c literal)*) w ")"'
    " | W (NOT W)? BETWEEN W literal W AND W literal | W IS W (NOT W)? NULL",
}


def narrowed(grammar: Grammar, name: str, schema: PromptSchema) -> Grammar:
    """``grammar``, the built-in one of ``name``, for a prompt with this schema; itself if that names nothing."""
    if name == "sql" and schema.tables:
        return Grammar(kind="lark", text=_sql(grammar.text, schema))
    if name == "cypher" and schema.labels:
        return Grammar(kind="lark", text=_cypher(grammar.text, schema))
    return grammar


def _sql(text: str, schema: PromptSchema) -> str:
    rules = dict(_RULE.findall(text))
    reserved = _reserved(text)
    rules |= {
        "table": _one_of(schema.tables, reserved),
        "column": _one_of((column for each in schema.tables.values() for column in each), reserved),
        "qualifier": "table | SHORT",
        **_bound(schema.tables, reserved),
        "update": f"UPDATE W table W SET W setting (c setting)* {_WHERE if schema.has_condition else _MAYBE_WHERE}",
        "delete": f"DELETE W FROM W table {_WHERE if schema.has_condition else _MAYBE_WHERE}",
        **_SURE,
    }
    defining = ["definition"] if schema.is_defining else []
    if not defining:
        for unused in _DEFINING:
            del rules[unused]
    options = ["select", "insert", "update", "delete", *defining]
    end = "(W ORDER W BY W orders)? (W LIMIT W limit)?"
    rules["select"] = f"query {end}"
    for unused in ("start", "statement", "named", "changed"):
        del rules[unused]
    scopes = list(schema.tables.items())[: _MAX_SCOPES + 1]
    if len(scopes) <= _MAX_SCOPES:
        # Over several tables, or several queries, all columns may be named; over one those that it has.
        rules["sources"] = 'source joined+ | "(" w select w ")" (W (AS W)? SHORT)? joined*'
        rules["alone"] = " | ".join(f"core_{number}" for number in range(len(scopes)))
        rules["query"] = "(core | alone) (W set W (core | alone))*"
        rules["several"] = f"(core | alone W set W (core | alone)) (W set W (core | alone))* {end}"
        options = ["several", *defining]
        for number, (table, columns) in enumerate(scopes):
            rules |= _scope(rules, number, _one_of([table], reserved), _one_of(columns, reserved))
            options += [f"{each}_{number}" for each in ("single", *_CHANGES)]
        for each in _CHANGES:
            del rules[each]
    head = ['start: statement (w ";")?', f"statement: {' | '.join(options)}"]
    lines = [*head, *(f"{name}: {body}" for name, body in rules.items())]
    return "\n".join(lines) + "\n" + _terminals(text) + _short_names(schema.tables)


def _bound(tables: Mapping[str, Iterable[str]], reserved: re.Pattern[str]) -> dict[str, str]:
    """The rules of a table that is joined and of a column of it."""
    names, initials = [_one_of([table], reserved) for table in tables], _initials(tables)
    short = [f"({f'INITIAL_{number} | ' if table in initials else ''}FREE)" for number, table in enumerate(tables)]
    sources = [f"{name} (W (AS W)? {known})?" for name, known in zip(names, short, strict=True)]
    columns = [f'{name} "." ({_one_of(each, reserved)})' for name, each in zip(names, tables.values(), strict=True)]
    columns += [
        f'INITIAL_{number} "." ({_one_of(each, reserved)})'
        for number, (table, each) in enumerate(tables.items())
        if table in initials
    ]
    return {
        "source": " | ".join([*sources, '"(" w select w ")" (W (AS W)? SHORT)?']),
        "reference": " | ".join(["column", *columns, 'FREE "." column']),
    }


def _initials(tables: Iterable[str]) -> dict[str, str]:
    """The first letter of each table that is the only one to begin so; nothing of many tables,
    which leave no letter free."""
    tables = list(tables)
    counts = Counter(table[0].lower() for table in tables)
    alone = {table: table[0].lower() for table in tables if counts[table[0].lower()] == 1 and table[0].isalpha()}
    return alone if len(tables) <= _MAX_SCOPES else {}


def _short_names(tables: Iterable[str]) -> str:
    """Terminals: any short name, those of one table, and those of none."""
    tables = list(tables)
    initials = _initials(tables)
    free = "".join(letter for letter in ascii_letters if letter.lower() not in initials.values())
    lines = ["SHORT: /[A-Za-z]{1,2}[0-9]{0,2}/ & ~RESERVED", f"FREE: /[{free}][A-Za-z]?[0-9]{{0,2}}/ & ~RESERVED"]
    lines += [
        f"INITIAL_{number}: /[{initials[table]}{initials[table].upper()}][A-Za-z]?[0-9]{{0,2}}/ & ~RESERVED"
        for number, table in enumerate(tables)
        if table in initials
    ]
    return "\n".join(lines) + "\n"


def _scope(rules: Mapping[str, str], number: int, table: str, columns: str) -> dict[str, str]:
    """The rules of statements over one table."""
    names = re.compile(rf"(?<!\w)({'|'.join(_SCOPED)})(?!\w)")
    result = {f"{name}_{number}": names.sub(rf"\1_{number}", rules[name]) for name in (*_SCOPED, *_CHANGES)}
    for each in _CHANGES:
        result[f"{each}_{number}"] = re.sub(r"(?<!\w)table(?!\w)", table, result[f"{each}_{number}"])
    result[f"column_{number}"] = columns
    result[f"qualifier_{number}"] = f"{table} | SHORT"
    result[f"reference_{number}"] = f'(qualifier_{number} ".")? column_{number}'
    result[f"rest_{number}"] = result[f"rest_{number}"].replace("sources", f"{table} (W (AS W)? SHORT)?")
    result[f"single_{number}"] = f"core_{number} (W ORDER W BY W orders_{number})? (W LIMIT W limit)?"
    return result


def _cypher(text: str, schema: PromptSchema) -> str:
    rules = dict(_RULE.findall(text))
    everything = [*schema.labels.values(), *schema.relationships.values()]
    rules["property"] = _one_of([name for each in everything for name in each] or ["id"], None)
    rules["label"] = _one_of(schema.labels, None)
    rules["type"] = _one_of(schema.relationships or ["NONE"], None)
    rules |= _chains(schema)
    if schema.has_condition:
        # What sets or deletes comes behind something that was looked for by a value.
        rules["changing"] = (
            rules["changing"].replace("    | set\n    | (DETACH W)? DELETE W variable (c variable)*", "").rstrip()
        )
        rules["last"] = (
            "(reading W)* (RETURN W projection | changing (W changing)* (W RETURN W projection)?"
            " | sought W (set | (DETACH W)? DELETE W variable (c variable)*) (W RETURN W projection)?)"
        )
        rules["sought"] = "MATCH W paths W WHERE W condition | MATCH W marked"
        rules["marked"] = '(chain c)* (node edge)* "(" w variable? (":" label)? w map w ")" (edge node)* (c chain)*'
    return "\n".join(f"{name}: {body}" for name, body in rules.items()) + "\n" + _quoted(_terminals(text), schema.words)


def _quoted(terminals: str, words: str) -> str:
    """The terminals with a STRING made of the prompt's words, as they stand there or in small
    or first capital letters."""
    if len(words) > _MAX_WORDS:
        return terminals
    written = words.replace("\\", " ").replace("'", "\\'")
    spelled = [
        json.dumps({"substring_words": each}) for each in dict.fromkeys((written, written.lower(), written.title()))
    ]
    lines = [
        """STRING: ANY & ("'" SAID "'" | "\\"" SAID "\\"")""",
        f'SAID: (".*")? (/\\S|\\S.*\\S/ & ({" | ".join(f"WORDS_{number}" for number in range(len(spelled)))})) '
        '(".*")? | /[0-9].*/',
        *(f"WORDS_{number}: %regex {each}" for number, each in enumerate(spelled)),
    ]
    return terminals.replace("\nSTRING:", "\nANY:") + "\n".join(lines) + "\n"


def _chains(schema: PromptSchema) -> dict[str, str]:
    """The rules of paths that are looked for: from a node with a label lead the relationships
    that the graph has there."""
    if not schema.edges or len(schema.labels) > _MAX_SCOPES:
        return {}
    labels, types = list(schema.labels), list(schema.relationships)
    bound = {relationship for _, relationship, _ in schema.edges}
    unbound = [each for each in types if each not in bound]
    free = ['variable? (":" type ("|" type)+)?', *([f'variable? ":" {_one_of(unbound, None)}'] if unbound else [])]
    hop = f'"[" w ({" | ".join(free)}) range? (w map)? w "]"'
    rules = {
        "chain": " | ".join(["chain_any", *(f"chain_{number}" for number in range(len(labels)))]),
        "chain_any": '"(" w variable? (w map)? w ")" (edge chain)?',
        "edge_free": f'"-" ({hop})? "-" | "-" ({hop})? "->" | "<-" ({hop})? "-"',
    }
    for number, each in enumerate(types):
        properties = _map(schema.relationships[each])
        rules[f"hop_{number}"] = f'"[" w variable? ":" {_one_of([each], None)} range? (w {properties})? w "]"'
    known = [each for each in sorted(schema.edges) if {each[0], each[2]} <= schema.labels.keys() and each[1] in types]
    for number, label in enumerate(labels):
        ways = ["edge_free chain"]
        for start, relationship, end in known:
            step = f"hop_{types.index(relationship)}"
            if start == label:
                ways.append(f'"-" {step} ("->" | "-") (chain_any | chain_{labels.index(end)})')
            if end == label:
                ways.append(f'("<-" {step} "-" | "-" {step} "-") (chain_any | chain_{labels.index(start)})')
        node = f'"(" w variable? ":" {_one_of([label], None)} (w {_map(schema.labels[label])})? w ")"'
        rules[f"chain_{number}"] = f"{node} ({' | '.join(ways)})?"
    return rules


def _map(properties: Iterable[str]) -> str:
    """Of a node or a relationship with these properties; of any if none is known."""
    names = list(properties)
    if not names:
        return "map"
    pair = f'({_one_of(names, None)}) w ":" w value'
    return f'"{{" w {pair} (c {pair})* w "}}"'


def _terminals(text: str) -> str:
    """The lines from where names in capitals are defined."""
    match = re.search(r"^W: ", text, re.MULTILINE)
    assert match is not None
    return text[match.start() :]


def _reserved(text: str) -> re.Pattern[str]:
    words = re.findall(r"[a-z_]+", text[text.index("\nRESERVED:") :].replace("/i", ""))
    return re.compile("|".join(words), re.IGNORECASE)


def _one_of(names: Iterable[str], reserved: re.Pattern[str] | None) -> str:
    """Alternatives in Lark; in double quotes if SQL wants them."""
    written = (
        name if reserved is None or (_SIMPLE.fullmatch(name) and not reserved.fullmatch(name)) else f'"{name}"'
        for name in dict.fromkeys(names)
    )
    return "(" + " | ".join(json.dumps(each, ensure_ascii=False) for each in written) + ")"
