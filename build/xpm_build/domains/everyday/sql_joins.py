"""Questions about two or three tables: rows with what they belong to, and tables that share something."""

from dataclasses import dataclass

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.conditions import Condition, quoted
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql_groups import aggregated
from xpm_build.domains.everyday.sql_plain import Question, chosen_columns, names_of, superlatives


@dataclass(frozen=True, slots=True)
class Pair:
    """A table whose rows belong to another's: ``child.by = parent.key``, and the aliases of both."""

    child: Table
    by: Column
    parent: Table
    c: str
    p: str

    @property
    def on(self) -> str:
        return f"{self.c}.{self.by.name} = {self.p}.{self.parent.key.name}"

    @property
    def from_child(self) -> str:
        return f"{self.child.name} {self.c} JOIN {self.parent.name} {self.p} ON {self.on}"

    @property
    def from_parent(self) -> str:
        return f"{self.parent.name} {self.p} JOIN {self.child.name} {self.c} ON {self.on}"

    @property
    def role(self) -> str:
        """What the parent is to the child: "customer", "author"."""
        return self.by.field.spoken

    @property
    def naming(self) -> list[Column]:
        return self.parent.naming


def aliases(*tables: Table) -> list[str]:
    """Short names of tables: the first letter, two where it is taken."""
    found: list[str] = []
    for each in tables:
        name = each.name.lower()
        options = [name[0], name[:2], name[:3], f"{name[0]}2"]
        found.append(next(option for option in options if option not in found and option not in _RESERVED))
    return found


_RESERVED = (
    "as",
    "by",
    "do",
    "if",
    "in",
    "is",
    "no",
    "of",
    "on",
    "or",
    "to",
    "add",
    "all",
    "and",
    "asc",
    "end",
    "for",
    "key",
    "not",
    "set",
)


def pair_of(asker: Asker, *, named: bool = False) -> Pair | None:
    """Two tables of which one refers to the other; None if the schema has none.

    Args:
        named: the parent has a column that names it.
    """
    found = [
        (child, by, parent)
        for child, by, parent in asker.schema.references()
        if child is not parent and (parent.naming or not named)
    ]
    if not found:
        return None
    child, by, parent = asker.rng.choice(found)
    tables = [parent, child] if asker.rng.random() < 0.6 else [child, parent]
    for each in tables:
        asker.show(each)
    c, p = aliases(child, parent)
    return Pair(child, by, parent, c, p)


def said_names(asker: Asker, pair: Pair) -> str:
    return asker.mentions(pair.parent, pair.naming)


def child_with_parent(asker: Asker) -> Question:
    pair = pair_of(asker, named=True)
    if pair is None:
        raise Unfit
    theirs = pair.naming if asker.rng.random() < 0.7 else chosen_columns(asker, pair.parent, most=1)
    conditions = asker.some_conditions(pair.child, (0.35, 0.0))
    noun, said = asker.np(pair.child, conditions), asker.mentions(pair.parent, theirs)
    clause = where(conditions, f"{pair.c}.")
    if asker.rng.random() < 0.3:
        request = asker.speaker.say(
            "child_all_parent", np=noun, pcols=said, role=pair.role, nouns=asker.nouns(pair.child)
        )
        return request, f"SELECT {pair.c}.*, {names_of(theirs, pair.p + '.')} FROM {pair.from_child}{clause}"
    ours = chosen_columns(asker, pair.child, most=2)
    request = asker.speaker.say(
        "child_parent",
        cols=asker.mentions(pair.child, ours),
        np=noun,
        pcols=said,
        role=pair.role,
        one=asker.one(pair.child),
    )
    chosen = f"{names_of(ours, pair.c + '.')}, {names_of(theirs, pair.p + '.')}"
    return request, f"SELECT {chosen} FROM {pair.from_child}{clause}"


def _belonging(asker: Asker, pair: Pair) -> tuple[str, list[Condition]]:
    """What the parent of a child is, as (what is said behind the child's noun, conditions on the parent)."""
    words = pair.child.entity.of.get(pair.by.field.name, ("of", "from"))
    naming = pair.naming
    preposition = asker.rng.choice(words)
    if len(naming) == 1 and asker.rng.random() < 0.55:
        condition = asker.conditions.draw(pair.parent, naming[0], form="eq")
        value = condition.values[0]
        plain = asker.conditions.spoken_text(str(value)) if asker.rng.random() < 0.4 else str(value)
        said = f"the {pair.role} {plain}" if asker.rng.random() < 0.25 else plain
        asker.literals.append(value)
        return f"{preposition} {said}", [Condition(naming[0], f"= {quoted(value)}", "", "", "eq", (value,))]
    places = [each for each in pair.parent.columns if each.meaning.name in ("city", "country", "place")]
    if places and asker.rng.random() < 0.5:
        condition = asker.conditions.draw(pair.parent, asker.any(places), form="eq")
        if condition.text.startswith(("in ", "from ")):
            asker.literals += condition.values
            return condition.text, [condition]
    conditions = asker.conditions_on(pair.parent, 1)
    return f"{preposition} {asker.np(pair.parent, conditions)}", conditions


def child_of_parent(asker: Asker) -> Question:
    """Orders of a certain customer, or of customers from somewhere: rows, columns, a count or a sum."""
    pair = pair_of(asker, named=True)
    if pair is None:
        raise Unfit
    ours = asker.some_conditions(pair.child, (0.25, 0.0))
    said, theirs = _belonging(asker, pair)
    noun = f"{asker.np(pair.child, ours)} {said}"
    conditions = [each.sql(f"{pair.c}.") for each in ours] + [each.sql(f"{pair.p}.") for each in theirs]
    source = f"FROM {pair.from_child} WHERE {' AND '.join(conditions)}"
    draw = asker.rng.random()
    if draw < 0.45:
        return asker.speaker.say("rows", np=noun), f"SELECT {pair.c}.* {source}"
    if draw < 0.65:
        return asker.speaker.say("count", np=noun), f"SELECT COUNT(*) {source}"
    found = aggregated(asker, pair.child, f"{pair.c}.")
    if draw < 0.82 and found is not None:
        return asker.speaker.say("aggregate", agg=found[0], np=noun), f"SELECT {found[1]} {source}"
    columns = chosen_columns(asker, pair.child, most=2)
    request = asker.speaker.say("select", cols=asker.mentions(pair.child, columns, many=True), np=noun)
    return request, f"SELECT {names_of(columns, pair.c + '.')} {source}"


def best_of_parent(asker: Asker) -> Question:
    """The newest order of a certain customer."""
    pair = pair_of(asker, named=True)
    found = superlatives(asker, pair.child) if pair is not None else []
    if pair is None or not found:
        raise Unfit
    word, column, is_greatest = asker.rng.choice(found)
    said, theirs = _belonging(asker, pair)
    request = asker.speaker.say("sup", sup=f"{word} {asker.one(pair.child)} {said}")
    clause = where(theirs, f"{pair.p}.")
    order = f" ORDER BY {pair.c}.{column.name}{' DESC' if is_greatest else ''} LIMIT 1"
    return request, f"SELECT {pair.c}.* FROM {pair.from_child}{clause}{order}"


def three(asker: Asker) -> Question:
    """What a grandparent has, or rows with the names of both whom they refer to."""
    references = [each for each in asker.schema.references() if each[0] is not each[2]]
    chains = [(a, b) for a in references for b in references if a[2] is b[0] and a[0] is not b[2]]
    forks = [(a, b) for a in references for b in references if a[0] is b[0] and a[1] is not b[1] and a[2] is not b[2]]
    if not chains + forks:
        raise Unfit
    (child, by, parent), (_, second_by, other) = asker.rng.choice(chains + forks)
    is_fork = asker.schema.tables[by.field.refers] is parent and second_by in child.columns
    a, b, c = aliases(child, parent, other)
    for each in (child, parent, other):
        asker.show(each)
    first = f"JOIN {parent.name} {b} ON {a}.{by.name} = {b}.{parent.key.name}"
    second = f"JOIN {other.name} {c} ON {a if is_fork else b}.{second_by.name} = {c}.{other.key.name}"
    source = f"FROM {child.name} {a} {first} {second}"
    if is_fork:
        return _fork(asker, (child, parent, other), (by, second_by), (a, b, c), source)
    last = Pair(parent, second_by, other, b, c)
    if not other.naming:
        raise Unfit
    said, conditions = _belonging(asker, last)
    middle = f"{asker.rng.choice(child.entity.of.get(by.field.name, ('of', 'from')))} {asker.nouns(parent)}"
    noun = f"{asker.np(child)} {middle} {said}"
    clause = where(conditions, f"{c}.")
    if asker.rng.random() < 0.3:
        return asker.speaker.say("count", np=noun), f"SELECT COUNT(*) {source}{clause}"
    return asker.speaker.say("rows", np=noun), f"SELECT {a}.* {source}{clause}"


def _fork(
    asker: Asker,
    tables: tuple[Table, Table, Table],
    by: tuple[Column, Column],
    short: tuple[str, str, str],
    source: str,
) -> Question:
    child, parent, other = tables
    if not parent.naming or not other.naming:
        raise Unfit
    left, right = names_of(parent.naming, f"{short[1]}."), names_of(other.naming, f"{short[2]}.")
    ours = chosen_columns(asker, child, most=1)
    said = (
        f"{asker.mentions(parent, parent.naming)} of the {by[0].field.spoken}",
        f"{asker.mentions(other, other.naming)} of the {by[1].field.spoken}",
    )
    cols = f"{said[0]}, {said[1]} and {asker.mentions(child, ours)}"
    conditions = asker.some_conditions(child, (0.3, 0.0))
    request = asker.speaker.say("select", cols=cols, np=asker.np(child, conditions))
    clause = where(conditions, f"{short[0]}.")
    return request, f"SELECT {left}, {right}, {names_of(ours, short[0] + '.')} {source}{clause}"


def self_join(asker: Asker) -> Question:
    """Employees with their managers, those without one, and pairs that share something."""
    selves = [(child, by) for child, by, parent in asker.schema.references() if child is parent and child.naming]
    if selves and asker.rng.random() < 0.8:
        table, by = asker.rng.choice(selves)
        asker.show(table)
        words = {"one": asker.one(table), "nouns": asker.nouns(table), "role": by.field.spoken}
        if asker.rng.random() < 0.25:
            return asker.speaker.say("self_without", **words), f"SELECT * FROM {table.name} WHERE {by.name} IS NULL"
        a, b = table.name[0].lower(), by.name[0].lower()
        b = b if b != a else f"{b}2"
        shown = f"{names_of(table.naming, a + '.')}, {names_of(table.naming, b + '.')}"
        source = f"FROM {table.name} {a} JOIN {table.name} {b} ON {a}.{by.name} = {b}.{table.key.name}"
        return asker.speaker.say("self_names", **words), f"SELECT {shown} {source}"
    fitting = [each for each in asker.schema.tables.values() if len(each.naming) == 1 and asker.groupable(each)]
    if not fitting:
        raise Unfit
    table = asker.show(asker.rng.choice(fitting))
    column, name, key = asker.any(asker.groupable(table)), table.naming[0].name, table.key.name
    request = asker.speaker.say(
        "pairs", nouns=asker.nouns(table), col=asker.mention(table, column), name=asker.mention(table, table.naming[0])
    )
    on = f"a.{column.name} = b.{column.name} AND a.{key} < b.{key}"
    return request, f"SELECT a.{name}, b.{name} FROM {table.name} a JOIN {table.name} b ON {on}"


def sets(asker: Asker) -> Question:
    """Cities of customers and of suppliers: in either, in both, in one alone."""
    tables = list(asker.schema.tables.values())
    found: list[tuple[Table, Column, Table, Column]] = [
        (left, ours, right, theirs)
        for left in tables
        for right in tables
        for ours in left.of("text")
        for theirs in right.of("text")
        if left is not right and ours.field.name == theirs.field.name and ours.field.name in _SHARED
    ]
    if not found:
        raise Unfit
    left, ours, right, theirs = asker.rng.choice(found)
    for each in (left, right):
        asker.show(each)
    kind = asker.rng.choice(("union", "intersect", "except"))
    noun = {"city": "cities", "country": "countries"}.get(ours.field.name, f"{ours.field.spoken}s")
    request = asker.speaker.say(kind, a=noun, col=ours.field.spoken, lefts=asker.nouns(left), rights=asker.nouns(right))
    return request, f"SELECT {ours.name} FROM {left.name} {kind.upper()} SELECT {theirs.name} FROM {right.name}"


_SHARED = ("city", "country", "email", "phone", "name", "genre", "language", "department", "district", "place", "brand")
