"""Several links in a row, links that have a noun of their own, and links made and removed."""

from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.cypher_links import Linker, aliases, ends, node, pattern_of, returned_of, starts
from xpm_build.domains.everyday.cypher_plain import Question, anchor, properties, variable, where, without_twice
from xpm_build.domains.everyday.graph import Link
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql_plain import superlatives
from xpm_build.domains.everyday.worlds import singular


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
    left = pattern_of(first, node(alias, wanted), f":{middle.name}")
    left = left if first.start is wanted else f"({node(alias, wanted)})<-[:{first.type}]-(:{middle.name})"
    right = f"-[:{second.type}]->(:{anchored.name} {pattern})"
    right = right if second.start is middle else f"<-[:{second.type}]-(:{anchored.name} {pattern})"
    nouns = asker.nouns(middle)
    inner = starts(asker, second, nouns, said) if second.start is middle else ends(asker, second, nouns, said)
    outer = asker.nouns(wanted)
    noun = starts(asker, first, outer, inner) if first.start is wanted else ends(asker, first, outer, inner, many=True)
    request, returned = returned_of(asker, wanted, alias, noun, distinct=True)
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
    pattern = pattern_of(link, node("a", link.start), node("b", link.end))
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
            words = ("from", "out of") if link.meaning.noun in _WAYS else ("from", "by", "of")
            a, noun = f"{a} {pattern}", f"{noun} {asker.rng.choice(words)} {said}"
        if asker.rng.random() < 0.45:
            said, pattern = anchor(asker, link.end)
            b, noun = f"{b} {pattern}", f"{noun} to {said}"
    conditions = [asker.conditions.draw(table, asker.any(link.columns))] if asker.rng.random() < 0.4 else []
    conditions = [each for each in conditions if not each.place]
    noun = asker.np(table, conditions, noun=noun)
    clause = f"MATCH {pattern_of(link, a, b, alias)}{where(conditions, alias)}"
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


def between(linker: Linker) -> Question:
    asker, link = linker.asker, linker.link(verbal=True, named=True)
    said, first = anchor(asker, link.start)
    other, second = anchor(asker, link.end)
    alias = variable(link.type)
    request = asker.speaker.say("links_between", type=link.type, v=said, w=other)
    pattern = pattern_of(link, f":{link.start.name} {first}", f":{link.end.name} {second}", alias)
    return request, f"MATCH {pattern} RETURN {alias}"


def _said_once(link: Link, request: str) -> str:
    """The request without "the room the room Attic"."""
    for table in (link.start, link.end):
        request = without_twice(request, table.entity.one)
    return request


def change_link(linker: Linker) -> Question:
    """A link made or removed between two certain nodes."""
    asker, link = linker.asker, linker.link(named=True)
    said, first = anchor(asker, link.start)
    other, second = anchor(asker, link.end)
    a, b = aliases(link)
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
        pattern = pattern_of(link, f":{link.start.name} {first}", f":{link.end.name} {second}", alias)
        return _said_once(link, asker.speaker.say("delete_link", **words)), f"MATCH {pattern} DELETE {alias}"
    request = _said_once(link, asker.speaker.say("create_link", **words))
    properties_ = ""
    numbers = [each for each in link.columns if each.kind == "number"]
    if numbers and asker.rng.random() < 0.5:
        column: Column = asker.any(numbers)
        value = asker.conditions.number(column)
        asker.literals.append(value)
        properties_ = f" {{{column.name}: {value}}}"
        said = f"{asker.mention(link.as_table(), column)} {value}"
        request += asker.rng.choice((f", {said}", f" with {said}", f" ({said})"))
    nodes = f"({a}:{link.start.name} {first}), ({b}:{link.end.name} {second})"
    return request, f"MATCH {nodes} CREATE ({a})-[:{link.type}{properties_}]->({b})"
