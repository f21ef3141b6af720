"""Questions about what is linked with what, from either end."""

from dataclasses import dataclass

from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.cypher_plain import Question, anchor, compared, properties, variable, where
from xpm_build.domains.everyday.graph import Graph, Link
from xpm_build.domains.everyday.schema import Table
from xpm_build.domains.everyday.sql_plain import chosen_columns, superlatives


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


def pattern_of(link: Link, start: str, end: str, alias: str = "", *, forward: bool = True) -> str:
    """``start`` and ``end`` are what stands in the round brackets; written from the end if not ``forward``."""
    relation = f"[{alias}:{link.type}]"
    return f"({start})-{relation}->({end})" if forward else f"({end})<-{relation}-({start})"


def node(alias: str, table: Table) -> str:
    return f"{alias}:{table.name}"


def starts(asker: Asker, link: Link, noun: str, end: str) -> str:
    """Starts of a link, by what they are linked to: "people working at Globex"."""
    meaning = link.meaning
    if meaning.verb and asker.rng.random() < 0.5:
        return f"{noun} {_that(asker, link.start)} {meaning.verb} {end}"
    return f"{noun} {asker.rng.choice(meaning.of)} {end}"


def ends(asker: Asker, link: Link, noun: str, start: str, *, many: bool = False) -> str:
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


def returned_of(asker: Asker, table: Table, alias: str, noun: str, *, distinct: bool) -> Question:
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
    pattern = pattern_of(link, node(alias, link.start), f":{link.end.name} {anchored}")
    conditions = asker.some_conditions(link.start, (0.2, 0.0))
    if not conditions and link.meaning.verb and link.start.entity.is_people and asker.rng.random() < 0.4:
        request = asker.speaker.say(
            "who_link", third=link.meaning.third, verb=link.meaning.verb, v=said, starts=asker.nouns(link.start)
        )
        return request, f"MATCH {pattern} RETURN {alias}"
    noun = starts(asker, link, asker.np(link.start, conditions), said)
    request, returned = returned_of(asker, link.start, alias, noun, distinct=False)
    return request, f"MATCH {pattern}{where(conditions, alias)} {returned}"


def ends_of(linker: Linker) -> Question:
    """What a certain person bought."""
    asker, link = linker.asker, linker.link()
    said, anchored = anchor(asker, link.start)
    alias = variable(link.end.name)
    pattern = pattern_of(link, f":{link.start.name} {anchored}", node(alias, link.end))
    conditions = asker.some_conditions(link.end, (0.2, 0.0))
    if not conditions and link.meaning.verb and asker.rng.random() < 0.4:
        request = asker.speaker.say("what_link", third=link.meaning.third, v=said, ends=asker.nouns(link.end))
        return request, f"MATCH {pattern} RETURN {alias}"
    noun = ends(asker, link, asker.np(link.end, conditions), said)
    request, returned = returned_of(asker, link.end, alias, noun, distinct=False)
    return request, f"MATCH {pattern}{where(conditions, alias)} {returned}"


def filtered(linker: Linker) -> Question:
    """Starts or ends whose other side meets a condition."""
    asker, link = linker.asker, linker.link()
    a, b = aliases(link)
    is_start = asker.rng.random() < 0.65
    wanted, other = (link.start, link.end) if is_start else (link.end, link.start)
    mine, theirs = (a, b) if is_start else (b, a)
    conditions = asker.some_conditions(wanted, (0.35, 0.0))
    others = asker.conditions_on(other, 1)
    noun = asker.np(wanted, conditions)
    if is_start:
        noun = starts(asker, link, noun, asker.np(other, others))
    else:
        noun = ends(asker, link, noun, asker.np(other, others), many=True)
    tests = [compared(each, mine) for each in conditions] + [compared(each, theirs) for each in others]
    request, returned = returned_of(asker, wanted, mine, noun, distinct=not (is_start and link.meaning.is_single))
    pattern = pattern_of(link, node(a, link.start), node(b, link.end))
    return request, f"MATCH {pattern} WHERE {' AND '.join(tests)} {returned}"


def aliases(link: Link) -> tuple[str, str]:
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
    noun = f"{starts(asker, link, asker.nouns(link.start), said)} {condition.text}"
    request, returned = returned_of(asker, link.start, start, noun, distinct=distinct)
    return request, f"MATCH {pattern_of(link, node(start, link.start), end, alias)} WHERE {tests} {returned}"


def listed(linker: Linker) -> Question:
    """Both names of what is linked, perhaps with a property of the link."""
    asker, link = linker.asker, linker.link(verbal=True, named=True)
    a, b = aliases(link)
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
        pattern = pattern_of(link, node(a, link.start), node(b, link.end), alias)
        return request, f"MATCH {pattern}{test} RETURN {shown}, {alias}.{column.name}"
    request = asker.speaker.say("linked_names", **words)
    return request, f"MATCH {pattern_of(link, node(a, link.start), node(b, link.end))} RETURN {shown}"


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
            ends(asker, link, noun, said),
            pattern_of(link, f":{other.name} {anchored}", node(alias, wanted)),
        )
    else:
        noun, pattern = (
            f"{noun} {asker.rng.choice(link.meaning.of)} {said}",
            pattern_of(link, node(alias, wanted), f":{other.name} {anchored}"),
        )
    request = asker.speaker.say("sup", sup=f"{word} {noun}")
    direction = " DESC" if is_greatest else ""
    return request, f"MATCH {pattern} RETURN {alias} ORDER BY {alias}.{column.name}{direction} LIMIT 1"
