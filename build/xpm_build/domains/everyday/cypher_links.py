"""Questions about what is linked with what: from either end, counted, missing, through several steps; and links changed."""

from dataclasses import dataclass

from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.conditions import Condition
from xpm_build.domains.everyday.cypher_plain import (
    Question,
    aggregated,
    anchor,
    compared,
    ordered_count,
    properties,
    variable,
    where,
)
from xpm_build.domains.everyday.graph import Graph, Link
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql_plain import chosen_columns, compared_count, superlatives
from xpm_build.domains.everyday.worlds import singular


@dataclass(slots=True)
class Linker:
    """An asker who knows a graph; ``used`` are the links that a question needs."""

    asker: Asker
    graph: Graph
    used: list[Link]

    def link(self, *, verbal: bool = False, own: bool = False, named: bool = False) -> Link:
        """A link of the graph.

        Args:
            verbal: a verb says it.
            own: it goes from a label to itself.
            named: both ends have a name.
        Raises:
            Unfit: there is none.
        """
        found = [
            each
            for each in self.graph.links
            if (each.meaning.verb or not verbal)
            and (not own or each.start is each.end)
            and (not named or len(each.start.naming) == len(each.end.naming) == 1)
        ]
        if not found:
            raise Unfit
        link = self.asker.rng.choice(found)
        self.use(link)
        return link

    def use(self, link: Link) -> None:
        self.used.append(link)
        for table in (link.start, link.end):
            self.asker.show(table)


def _pattern(link: Link, start: str, end: str, alias: str = "", *, forward: bool = True) -> str:
    """``start`` and ``end`` are what stands in the round brackets; written from the end if not ``forward``."""
    relation = f"[{alias}:{link.type}]"
    return f"({start})-{relation}->({end})" if forward else f"({end})<-{relation}-({start})"


def _node(alias: str, table: Table) -> str:
    return f"{alias}:{table.name}"


def _starts(asker: Asker, link: Link, noun: str, end: str) -> str:
    """Starts of a link, by what they are linked to: "people working at Globex"."""
    meaning = link.meaning
    if meaning.verb and asker.rng.random() < 0.5:
        return f"{noun} {_that(asker, link.start)} {meaning.verb} {end}"
    return f"{noun} {asker.rng.choice(meaning.of)} {end}"


def _ends(asker: Asker, link: Link, noun: str, start: str, *, many: bool = False) -> str:
    """Ends of a link, by what is linked to them: "companies Anna works at"."""
    meaning = link.meaning
    if meaning.did and asker.rng.random() < 0.6:
        return f"{noun} {_that(asker, link.end)} {meaning.did} {start}"
    if not meaning.verb:
        return f"{noun} of {start}" if not many else f"{noun} with {start}"
    verb = meaning.verb if many else meaning.third
    return f"{noun} {asker.rng.choice(('', 'that ', ''))}{start} {verb}"


def _that(asker: Asker, table: Table) -> str:
    return "who" if table.entity.is_people else asker.rng.choice(("that", "that", "which"))


def _returned(asker: Asker, table: Table, alias: str, noun: str, *, distinct: bool) -> Question:
    """The nodes, their properties or their number: (request, RETURN clause)."""
    word, draw = "DISTINCT " if distinct else "", asker.rng.random()
    if draw < 0.55:
        return asker.speaker.say("rows", np=noun), f"RETURN {word}{alias}"
    if draw < 0.75:
        return asker.speaker.say("count", np=noun), f"RETURN count({word}{alias})"
    columns = chosen_columns(asker, table, most=2)
    request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
    return request, f"RETURN {word}{properties(alias, columns)}"


def starts_of(linker: Linker) -> Question:
    """Who works at a certain company."""
    asker, link = linker.asker, linker.link()
    said, anchored = anchor(asker, link.end)
    alias = variable(link.start.name)
    pattern = _pattern(link, _node(alias, link.start), f":{link.end.name} {anchored}")
    conditions = asker.some_conditions(link.start, (0.2, 0.0))
    if not conditions and link.meaning.verb and link.start.entity.is_people and asker.rng.random() < 0.4:
        request = asker.speaker.say(
            "who_link", third=link.meaning.third, verb=link.meaning.verb, v=said, starts=asker.nouns(link.start)
        )
        return request, f"MATCH {pattern} RETURN {alias}"
    noun = _starts(asker, link, asker.np(link.start, conditions), said)
    request, returned = _returned(asker, link.start, alias, noun, distinct=False)
    return request, f"MATCH {pattern}{where(conditions, alias)} {returned}"


def ends_of(linker: Linker) -> Question:
    """What a certain person bought."""
    asker, link = linker.asker, linker.link()
    said, anchored = anchor(asker, link.start)
    alias = variable(link.end.name)
    pattern = _pattern(link, f":{link.start.name} {anchored}", _node(alias, link.end))
    conditions = asker.some_conditions(link.end, (0.2, 0.0))
    if not conditions and link.meaning.verb and asker.rng.random() < 0.4:
        request = asker.speaker.say("what_link", third=link.meaning.third, v=said, ends=asker.nouns(link.end))
        return request, f"MATCH {pattern} RETURN {alias}"
    noun = _ends(asker, link, asker.np(link.end, conditions), said)
    request, returned = _returned(asker, link.end, alias, noun, distinct=False)
    return request, f"MATCH {pattern}{where(conditions, alias)} {returned}"


def filtered(linker: Linker) -> Question:
    """Starts or ends whose other side meets a condition."""
    asker, link = linker.asker, linker.link()
    a, b = _aliases(link)
    is_start = asker.rng.random() < 0.65
    wanted, other = (link.start, link.end) if is_start else (link.end, link.start)
    mine, theirs = (a, b) if is_start else (b, a)
    conditions = asker.some_conditions(wanted, (0.35, 0.0))
    others = asker.conditions_on(other, 1)
    noun = asker.np(wanted, conditions)
    if is_start:
        noun = _starts(asker, link, noun, asker.np(other, others))
    else:
        noun = _ends(asker, link, noun, asker.np(other, others), many=True)
    tests = [compared(each, mine) for each in conditions] + [compared(each, theirs) for each in others]
    request, returned = _returned(asker, wanted, mine, noun, distinct=not (is_start and link.meaning.is_single))
    pattern = _pattern(link, _node(a, link.start), _node(b, link.end))
    return request, f"MATCH {pattern} WHERE {' AND '.join(tests)} {returned}"


def _aliases(link: Link) -> tuple[str, str]:
    start = variable(link.start.name)
    if link.start is link.end:
        return "a", "b"
    return start, variable(link.end.name, start)


def by_property(linker: Linker) -> Question:
    """Starts by a property of their links: "people who have been at their company since before 2010"."""
    asker = linker.asker
    links = [each for each in linker.graph.links if each.columns]
    if not links:
        raise Unfit
    link = asker.rng.choice(links)
    linker.use(link)
    column = asker.any(link.columns)
    condition = asker.conditions.draw(link.as_table(), column)
    if condition.place or condition.form in ("null", "not_null"):
        raise Unfit
    asker.literals += condition.values
    start = variable(link.start.name)
    alias = variable(link.type, start)
    tests = compared(condition, alias)
    article = asker.rng.choice(
        ("a~ {}", "a~ {}", "any {}", "some {}", "someone" if link.end.entity.is_people else "something")
    )
    if len(link.end.naming) == 1 and asker.rng.random() < 0.4:
        said, anchored = anchor(asker, link.end)
        end, distinct = f":{link.end.name} {anchored}", False
    else:
        said, end, distinct = article.format(asker.one(link.end)), f":{link.end.name}", not link.meaning.is_single
    noun = f"{_starts(asker, link, asker.nouns(link.start), said)} {condition.text}"
    request, returned = _returned(asker, link.start, start, noun, distinct=distinct)
    return request, f"MATCH {_pattern(link, _node(start, link.start), end, alias)} WHERE {tests} {returned}"


def listed(linker: Linker) -> Question:
    """Both names of what is linked, perhaps with a property of the link."""
    asker, link = linker.asker, linker.link(verbal=True, named=True)
    a, b = _aliases(link)
    words = {
        "one": asker.one(link.start),
        "other": asker.one(link.end),
        "starts": asker.nouns(link.start),
        "ends": asker.nouns(link.end),
        "verb": link.meaning.verb,
        "third": link.meaning.third,
        "type": link.type,
        "cols": asker.mentions(link.start, link.start.naming),
        "ocols": asker.mentions(link.end, link.end.naming),
    }
    shown = f"{properties(a, link.start.naming)}, {properties(b, link.end.naming)}"
    if link.columns and asker.rng.random() < 0.7:
        column = asker.any(link.columns)
        alias = variable(link.type, a, b)
        request = asker.speaker.say("linked_property", prop=asker.mention(link.as_table(), column), **words)
        condition = asker.conditions.draw(link.as_table(), asker.any(link.columns))
        test = ""
        if not condition.place and asker.rng.random() < 0.5:
            asker.literals += condition.values
            request = f"{request}, {asker.rng.choice(('only', 'only those', 'but only'))} {condition.text}"
            test = f" WHERE {compared(condition, alias)}"
        pattern = _pattern(link, _node(a, link.start), _node(b, link.end), alias)
        return request, f"MATCH {pattern}{test} RETURN {shown}, {alias}.{column.name}"
    request = asker.speaker.say("linked_names", **words)
    return request, f"MATCH {_pattern(link, _node(a, link.start), _node(b, link.end))} RETURN {shown}"


def _sides(asker: Asker, link: Link) -> tuple[Table, Table, str, str, bool]:
    """(parent, child, their variables, whether the parent is the link's end): whose children are counted."""
    a, b = _aliases(link)
    is_end = asker.rng.random() < 0.6 or link.meaning.is_single
    return (link.end, link.start, b, a, True) if is_end else (link.start, link.end, a, b, False)


def _children(asker: Asker, link: Link, child: Table, conditions: list[Condition]) -> str:
    """Children as they are counted: their nouns, or for a label that is linked to itself what tells the two ends apart."""
    if link.start is not link.end:
        return asker.np(child, conditions)
    noun = asker.np(child, conditions)
    return f"{noun} linked by {link.type}"


def count_per(linker: Linker) -> Question:
    asker, link = linker.asker, linker.link()
    parent, child, p, c, is_end = _sides(asker, link)
    if not parent.naming or (link.start is link.end and not link.meaning.verb):
        raise Unfit
    shown = properties(p, parent.naming)
    pcols = asker.mentions(parent, parent.naming)
    pattern = _pattern(link, _node(c if is_end else p, link.start), _node(p if is_end else c, link.end))
    draw = asker.rng.random()
    if link.start is link.end:
        side = f"that {link.meaning.verb} them" if is_end else f"they {link.meaning.verb}"
        words = {"np": f"{asker.nouns(child)} {side}", "parent": asker.one(parent), "pcols": pcols}
        return ordered_count(asker, asker.speaker.say("count_per", **words), f"MATCH {pattern}", shown, c)
    conditions = asker.some_conditions(child, (0.12, 0.0))
    words = {"np": asker.np(child, conditions), "parent": asker.one(parent), "pcols": pcols}
    if draw < 0.15 and not conditions:
        request = asker.speaker.say(
            "count_per_zero",
            count=asker.speaker.say("count_per", **words),
            parents=asker.nouns(parent),
            nouns=asker.nouns(child),
        )
        optional = _pattern(link, c if is_end else p, p if is_end else c)
        optional = optional.replace(f"({c})", f"({_node(c, child)})")
        return request, f"MATCH ({_node(p, parent)}) OPTIONAL MATCH {optional} RETURN {shown}, count({c})"
    if draw < 0.25:
        column = child.naming[0] if child.naming else asker.any(child.columns)
        request = asker.speaker.say("collect", cols=asker.mentions(child, [column], many=True), **words)
        return request, f"MATCH {pattern}{where(conditions, c)} RETURN {shown}, collect({c}.{column.name})"
    kind = "count_per" if asker.rng.random() < 0.5 else "plain_count_per"
    request = asker.speaker.say(kind, parents=asker.nouns(parent), **words)
    return ordered_count(asker, request, f"MATCH {pattern}{where(conditions, c)}", shown, c)


def aggregate_per(linker: Linker) -> Question:
    """Average age of the patients of each doctor; total quantity per product."""
    asker, link = linker.asker, linker.link()
    parent, child, p, c, is_end = _sides(asker, link)
    if not parent.naming or link.start is link.end:
        raise Unfit
    shown, pcols = properties(p, parent.naming), asker.mentions(parent, parent.naming)
    start, end = _node(c if is_end else p, link.start), _node(p if is_end else c, link.end)
    numbers = [each for each in link.columns if each.kind == "number" and each.meaning.means]
    if numbers and asker.rng.random() < 0.5:
        column, alias = asker.any(numbers), variable(link.type, p)
        kind = asker.rng.choice(("avg", "sum", "sum", "max") if column.meaning.adds else ("avg", "max", "min"))
        agg = asker.speaker.say(kind, col=asker.mention(link.as_table(), column))
        request = asker.speaker.say("property_per", agg=agg, parent=asker.one(parent), pcols=pcols, type=link.type)
        anonymous = f":{child.name}"
        pattern = _pattern(link, anonymous if is_end else start, end if is_end else anonymous, alias)
        return request, f"MATCH {pattern} RETURN {shown}, {kind}({alias}.{column.name})"
    said, cypher = aggregated(asker, child, c)
    kind = "average_per" if asker.rng.random() < 0.5 else "plain_average_per"
    request = asker.speaker.say(kind, agg=said, np=asker.nouns(child), parent=asker.one(parent), pcols=pcols)
    return request, f"MATCH {_pattern(link, start, end)} RETURN {shown}, {cypher}"


def having(linker: Linker) -> Question:
    """Those with more than three of something, or with the most."""
    asker, link = linker.asker, linker.link()
    parent, child, p, c, is_end = _sides(asker, link)
    if not parent.naming or link.start is link.end:
        raise Unfit
    pattern = _pattern(link, _node(c if is_end else p, link.start), _node(p if is_end else c, link.end))
    noun, pcols = asker.nouns(child), asker.mentions(parent, parent.naming)
    shown = properties(p, parent.naming)
    if asker.rng.random() < 0.3:
        request = asker.speaker.say("most_children", parent=asker.one(parent), np=noun, pcols=pcols)
        return request, f"MATCH {pattern} RETURN {shown}, count({c}) AS n ORDER BY n DESC LIMIT 1".replace(
            f"RETURN {shown}, count({c}) AS n", f"WITH {p}, count({c}) AS n RETURN {shown}"
        )
    cmp, comparison = compared_count(asker, most=3)
    if asker.rng.random() < 0.5:
        shown = p
        request = asker.speaker.say("rows", np=f"{asker.nouns(parent)} with {cmp} {noun}")
    else:
        request = asker.speaker.say("parents_having", pcols=pcols, parents=asker.nouns(parent), cmp=cmp, np=noun)
    return request, f"MATCH {pattern} WITH {p}, count({c}) AS n WHERE n {comparison} RETURN {shown}"


def missing(linker: Linker) -> Question:
    """Those without any of something; those that have some."""
    asker, link = linker.asker, linker.link()
    parent, child, p, c, is_end = _sides(asker, link)
    conditions = asker.some_conditions(child, (0.15, 0.0))
    if link.start is link.end:
        if not link.meaning.verb:
            raise Unfit
        noun, conditions = asker.nouns(parent), []
        said = (
            f"{noun} that nobody {link.meaning.third}"
            if is_end and parent.entity.is_people
            else f"{noun} that no other {link.meaning.third}"
            if is_end
            else f"{noun} that {link.meaning.verb} no other"
        )
        request = asker.speaker.say("rows", np=said)
        has_any = False
    else:
        has_any = asker.rng.random() < 0.25
        kind = "having_some" if has_any else "without"
        request = asker.speaker.say(kind, parents=asker.nouns(parent), np=asker.np(child, conditions))
    inner = f"{c if conditions else ''}:{child.name}"
    pattern = _pattern(link, inner if is_end else p, p if is_end else inner)
    test = f"EXISTS {{ MATCH {pattern}{where(conditions, c)} }}"
    columns = parent.naming if asker.rng.random() < 0.2 and parent.naming else []
    returned = properties(p, columns) if columns else p
    if columns:
        request = f"{request}, {asker.rng.choice(('only', 'just'))} {asker.mentions(parent, columns)}"
    return request, f"MATCH ({_node(p, parent)}) WHERE {'' if has_any else 'NOT '}{test} RETURN {returned}"


def chain(linker: Linker) -> Question:
    """Through two links: from a certain node to what is two labels away."""
    asker = linker.asker
    links = linker.graph.links
    found = [
        (first, second, turn)
        for first in links
        for second in links
        if first is not second
        for turn in ("on", "to", "from")
        if _meets(first, second, turn)
        and len({_far(first, turn), _far(second, turn, last=True), _near(first, turn)}) == 3
    ]
    if not found:
        raise Unfit
    first, second, turn = asker.rng.choice(found)
    for each in (first, second):
        linker.use(each)
    tables = {each.name: each for link in (first, second) for each in (link.start, link.end)}
    wanted, middle, anchored = (
        tables[_far(first, turn)],
        tables[_near(first, turn)],
        tables[_far(second, turn, last=True)],
    )
    alias = variable(wanted.name)
    said, pattern = anchor(asker, anchored)
    left = _pattern(first, _node(alias, wanted), f":{middle.name}")
    left = left if first.start is wanted else f"({_node(alias, wanted)})<-[:{first.type}]-(:{middle.name})"
    right = f"-[:{second.type}]->(:{anchored.name} {pattern})"
    right = right if second.start is middle else f"<-[:{second.type}]-(:{anchored.name} {pattern})"
    nouns = asker.nouns(middle)
    inner = _starts(asker, second, nouns, said) if second.start is middle else _ends(asker, second, nouns, said)
    outer = asker.nouns(wanted)
    noun = (
        _starts(asker, first, outer, inner) if first.start is wanted else _ends(asker, first, outer, inner, many=True)
    )
    request, returned = _returned(asker, wanted, alias, noun, distinct=True)
    return request, f"MATCH {left}{right} {returned}"


def _meets(first: Link, second: Link, turn: str) -> bool:
    if turn == "on":
        return first.end is second.start
    return first.end is second.end if turn == "to" else first.start is second.start


def _near(first: Link, turn: str) -> str:
    return first.start.name if turn == "from" else first.end.name


def _far(link: Link, turn: str, *, last: bool = False) -> str:
    if last:
        return link.start.name if turn == "to" else link.end.name
    return link.end.name if turn == "from" else link.start.name


def steps(linker: Linker) -> Question:
    """From a label to itself: several steps, both ways, back to itself, and what two have in common."""
    asker, link = linker.asker, linker.link(own=True, verbal=True, named=True)
    table, draw = link.start, asker.rng.random()
    nouns, words = asker.nouns(table), {"verb": link.meaning.verb, "third": link.meaning.third, "type": link.type}
    if draw < 0.2:
        cols = asker.mentions(table, table.naming)
        request = asker.speaker.say("mutual", nouns=nouns, cols=cols, **words)
        both = f"(a:{table.name})-[:{link.type}]->(b:{table.name}), (b)-[:{link.type}]->(a)"
        return request, f"MATCH {both} RETURN {properties('a', table.naming)}, {properties('b', table.naming)}"
    alias = variable(table.name)
    if draw < 0.28:
        request = asker.speaker.say("loop", nouns=nouns, **words)
        return request, f"MATCH ({alias}:{table.name})-[:{link.type}]->({alias}) RETURN DISTINCT {alias}"
    said, anchored = anchor(asker, table)
    start = f"(:{table.name} {anchored})"
    columns = table.naming if asker.rng.random() < 0.3 else []
    returned = f"RETURN DISTINCT {properties(alias, columns) if columns else alias}"
    suffix = f", {asker.rng.choice(('only', 'just'))} {asker.mentions(table, columns)}" if columns else ""
    if draw < 0.6:
        number = asker.rng.choice((2, 2, 3, 3, 4))
        request = asker.speaker.say("reach", ends=nouns, v=said, n=spoken(asker, number), **words)
        return request + suffix, f"MATCH {start}-[:{link.type}*1..{number}]->({alias}:{table.name}) {returned}"
    if draw < 0.8:
        request = asker.speaker.say("two_steps", ends=nouns, v=said, **words)
        middle = f"-[:{link.type}]->(:{table.name})-[:{link.type}]->"
        return request + suffix, f"MATCH {start}{middle}({alias}:{table.name}) {returned}"
    other, second = anchor(asker, table)
    request = asker.speaker.say("common", ends=nouns, v=said, w=other, **words)
    pattern = f"{start}-[:{link.type}]->({alias}:{table.name})<-[:{link.type}]-(:{table.name} {second})"
    return request + suffix, f"MATCH {pattern} {returned}"


def compared_ends(linker: Linker) -> Question:
    """Those who manage somebody who earns more than they do."""
    asker, link = linker.asker, linker.link(own=True, verbal=True)
    numbers = asker.measurable(link.start)
    if not numbers:
        raise Unfit
    column, nouns = asker.any(numbers), asker.nouns(link.start)
    request = asker.speaker.say(
        "more_than_them", starts=nouns, ends=nouns, verb=link.meaning.verb, col=asker.mention(link.start, column)
    )
    pattern = _pattern(link, _node("a", link.start), _node("b", link.end))
    return request, f"MATCH {pattern} WHERE b.{column.name} > a.{column.name} RETURN DISTINCT a"


def nouns(linker: Linker) -> Question:
    """Links that have a noun, as flights do: all of them, over a price, from one place to another, the cheapest."""
    asker = linker.asker
    links = [each for each in linker.graph.links if each.meaning.noun and each.columns]
    if not links:
        raise Unfit
    link = asker.rng.choice(links)
    linker.use(link)
    table, alias = link.as_table(), variable(link.type)
    a, b, noun = f":{link.start.name}", f":{link.end.name}", link.meaning.noun
    draw = asker.rng.random()
    if draw < 0.55:
        if asker.rng.random() < 0.7:
            said, pattern = anchor(asker, link.start)
            a, noun = (
                f"{a} {pattern}",
                f"{noun} {asker.rng.choice(('from', 'out of') if link.meaning.noun in _WAYS else ('from', 'by', 'of'))} {said}",
            )
        if asker.rng.random() < 0.45:
            said, pattern = anchor(asker, link.end)
            b, noun = f"{b} {pattern}", f"{noun} to {said}"
    conditions = [asker.conditions.draw(table, asker.any(link.columns))] if asker.rng.random() < 0.4 else []
    conditions = [each for each in conditions if not each.place]
    noun = asker.np(table, conditions, noun=noun)
    clause = f"MATCH {_pattern(link, a, b, alias)}{where(conditions, alias)}"
    return _of_links(
        asker, link, table, alias, noun, clause, has_ends=(a, b) == (f":{link.start.name}", f":{link.end.name}")
    )


def _of_links(
    asker: Asker, link: Link, table: Table, alias: str, noun: str, clause: str, *, has_ends: bool
) -> Question:
    draw = asker.rng.random()
    numbers = [each for each in link.columns if each.kind == "number" and each.meaning.means]
    texts = [each for each in link.columns if each.kind == "text"]
    found = superlatives(asker, table)
    if draw < 0.2 and found:
        word, column, is_greatest = asker.rng.choice(found)
        one = noun.replace(link.meaning.noun, singular(link.meaning.noun), 1)
        request = asker.speaker.say("link_best", sup=word, links=one, prop=asker.mention(table, column))
        order = f"ORDER BY {alias}.{column.name}{' DESC' if is_greatest else ''} LIMIT 1"
        is_value = asker.mention(table, column) in request or f" {column.field.spoken}" in request
        return request, f"{clause} RETURN {alias}{f'.{column.name}' if is_value else ''} {order}"
    if draw < 0.35 and numbers:
        column = asker.any(numbers)
        kind = asker.rng.choice(("sum", "sum", "avg", "max") if column.meaning.adds else ("avg", "max"))
        agg = asker.speaker.say(kind, col=asker.mention(table, column))
        return asker.speaker.say("link_sum", agg=agg, links=noun), f"{clause} RETURN {kind}({alias}.{column.name})"
    if draw < 0.45 and texts:
        column = asker.any(texts)
        request = asker.speaker.say("link_group", links=noun, prop=asker.mention(table, column))
        return request, f"{clause} RETURN {alias}.{column.name}, count({alias})"
    if draw < 0.7 and has_ends and link.start.naming and link.end.naming:
        column = asker.any(link.columns)
        request = asker.speaker.say(
            "link_columns",
            links=noun,
            prop=asker.mention(table, column),
            cols=asker.mentions(link.start, link.start.naming),
            ocols=asker.mentions(link.end, link.end.naming),
        )
        a, b = ("a", "b") if alias not in ("a", "b") else ("x", "y")
        clause = clause.replace(f"(:{link.start.name})", f"({a}:{link.start.name})", 1)
        clause = clause.replace(f"(:{link.end.name})", f"({b}:{link.end.name})", 1)
        shown = f"{properties(a, link.start.naming)}, {properties(b, link.end.naming)}, {alias}.{column.name}"
        return request, f"{clause} RETURN {shown}"
    if draw < 0.8:
        return asker.speaker.say("link_count", links=noun), f"{clause} RETURN count({alias})"
    return asker.speaker.say("link_rows", links=noun), f"{clause} RETURN {alias}"


_WAYS = ("flights", "trains", "roads", "lines")


def spoken(asker: Asker, number: int) -> str:
    return ("zero", "one", "two", "three", "four")[number] if asker.rng.random() < 0.4 else str(number)


def best_linked(linker: Linker) -> Question:
    """The cheapest product that a certain customer bought."""
    asker, link = linker.asker, linker.link()
    is_end = asker.rng.random() < 0.5
    wanted, other = (link.end, link.start) if is_end else (link.start, link.end)
    found = superlatives(asker, wanted)
    if not found:
        raise Unfit
    word, column, is_greatest = asker.rng.choice(found)
    said, anchored = anchor(asker, other)
    alias = variable(wanted.name)
    noun = asker.one(wanted)
    if is_end:
        noun, pattern = (
            _ends(asker, link, noun, said),
            _pattern(link, f":{other.name} {anchored}", _node(alias, wanted)),
        )
    else:
        noun, pattern = (
            f"{noun} {asker.rng.choice(link.meaning.of)} {said}",
            _pattern(link, _node(alias, wanted), f":{other.name} {anchored}"),
        )
    request = asker.speaker.say("sup", sup=f"{word} {noun}")
    direction = " DESC" if is_greatest else ""
    return request, f"MATCH {pattern} RETURN {alias} ORDER BY {alias}.{column.name}{direction} LIMIT 1"


def between(linker: Linker) -> Question:
    asker, link = linker.asker, linker.link(verbal=True, named=True)
    said, first = anchor(asker, link.start)
    other, second = anchor(asker, link.end)
    alias = variable(link.type)
    request = asker.speaker.say("links_between", type=link.type, v=said, w=other)
    pattern = _pattern(link, f":{link.start.name} {first}", f":{link.end.name} {second}", alias)
    return request, f"MATCH {pattern} RETURN {alias}"


def change_link(linker: Linker) -> Question:
    """A link made or removed between two certain nodes."""
    asker, link = linker.asker, linker.link(named=True)
    said, first = anchor(asker, link.start)
    other, second = anchor(asker, link.end)
    a, b = _aliases(link)
    third = link.meaning.third if link.meaning.verb else f"is {link.meaning.of[0]}"
    words = {
        "v": said,
        "w": other,
        "third": third,
        "type": link.type,
        "one": asker.one(link.start),
        "other": asker.one(link.end),
    }
    draw = asker.rng.random()
    if draw < 0.3:
        alias = variable(link.type, a, b)
        pattern = _pattern(link, f":{link.start.name} {first}", f":{link.end.name} {second}", alias)
        return asker.speaker.say("delete_link", **words), f"MATCH {pattern} DELETE {alias}"
    request = asker.speaker.say("create_link", **words)
    properties_ = ""
    numbers = [each for each in link.columns if each.kind == "number"]
    if numbers and asker.rng.random() < 0.5:
        column: Column = asker.any(numbers)
        value = asker.conditions.number(column)
        asker.literals.append(value)
        properties_ = f" {{{column.name}: {value}}}"
        request += f"{asker.rng.choice((', ', ' with ', ' ('))}{asker.mention(link.as_table(), column)} {value}"
        request += ")" if f"({asker.mention}" in request or request.count("(") > request.count(")") else ""
    nodes = f"({a}:{link.start.name} {first}), ({b}:{link.end.name} {second})"
    return request, f"MATCH {nodes} CREATE ({a})-[:{link.type}{properties_}]->({b})"
