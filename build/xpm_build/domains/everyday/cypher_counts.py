"""What is linked, counted and aggregated: per node, more than a number, none at all."""

from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.cypher_links import Linker, aliases, node, pattern_of
from xpm_build.domains.everyday.cypher_plain import Question, aggregated, ordered_count, properties, variable, where
from xpm_build.domains.everyday.graph import Link
from xpm_build.domains.everyday.schema import Table
from xpm_build.domains.everyday.sql_groups import compared_count


def _sides(asker: Asker, link: Link) -> tuple[Table, Table, str, str, bool]:
    """(parent, child, their variables, whether the parent is the link's end): whose children are counted."""
    a, b = aliases(link)
    is_end = asker.rng.random() < 0.6 or link.meaning.is_single
    return (link.end, link.start, b, a, True) if is_end else (link.start, link.end, a, b, False)


def count_per(linker: Linker) -> Question:
    asker, link = linker.asker, linker.link()
    parent, child, p, c, is_end = _sides(asker, link)
    if not parent.naming or (link.start is link.end and not link.meaning.verb):
        raise Unfit
    shown = properties(p, parent.naming)
    pcols = asker.mentions(parent, parent.naming)
    pattern = pattern_of(link, node(c if is_end else p, link.start), node(p if is_end else c, link.end))
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
        optional = pattern_of(link, c if is_end else p, p if is_end else c)
        optional = optional.replace(f"({c})", f"({node(c, child)})")
        return request, f"MATCH ({node(p, parent)}) OPTIONAL MATCH {optional} RETURN {shown}, count({c})"
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
    start, end = node(c if is_end else p, link.start), node(p if is_end else c, link.end)
    numbers = [each for each in link.columns if each.kind == "number" and each.meaning.means]
    if numbers and asker.rng.random() < 0.5:
        column, alias = asker.any(numbers), variable(link.type, p)
        kind = asker.rng.choice(("avg", "sum", "sum", "max") if column.meaning.adds else ("avg", "max", "min"))
        agg = asker.speaker.say(kind, col=asker.mention(link.as_table(), column))
        request = asker.speaker.say("property_per", agg=agg, parent=asker.one(parent), pcols=pcols, type=link.type)
        anonymous = f":{child.name}"
        pattern = pattern_of(link, anonymous if is_end else start, end if is_end else anonymous, alias)
        return request, f"MATCH {pattern} RETURN {shown}, {kind}({alias}.{column.name})"
    said, cypher = aggregated(asker, child, c)
    kind = "average_per" if asker.rng.random() < 0.5 else "plain_average_per"
    request = asker.speaker.say(kind, agg=said, np=asker.nouns(child), parent=asker.one(parent), pcols=pcols)
    return request, f"MATCH {pattern_of(link, start, end)} RETURN {shown}, {cypher}"


def having(linker: Linker) -> Question:
    """Those with more than three of something, or with the most."""
    asker, link = linker.asker, linker.link()
    parent, child, p, c, is_end = _sides(asker, link)
    if not parent.naming or link.start is link.end:
        raise Unfit
    pattern = pattern_of(link, node(c if is_end else p, link.start), node(p if is_end else c, link.end))
    noun, pcols = asker.nouns(child), asker.mentions(parent, parent.naming)
    shown = properties(p, parent.naming)
    if asker.rng.random() < 0.3:
        request = asker.speaker.say("most_children", parent=asker.one(parent), np=noun, pcols=pcols)
        counted = f"WITH {p}, count({c}) AS n RETURN {shown}"
        return request, f"MATCH {pattern} {counted} ORDER BY n DESC LIMIT 1"
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
    pattern = pattern_of(link, inner if is_end else p, p if is_end else inner)
    test = f"EXISTS {{ MATCH {pattern}{where(conditions, c)} }}"
    columns = parent.naming if asker.rng.random() < 0.2 and parent.naming else []
    returned = properties(p, columns) if columns else p
    if columns:
        request = f"{request}, {asker.rng.choice(('only', 'just'))} {asker.mentions(parent, columns)}"
    return request, f"MATCH ({node(p, parent)}) WHERE {'' if has_any else 'NOT '}{test} RETURN {returned}"
