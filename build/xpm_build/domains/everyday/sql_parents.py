"""Questions about what rows belong to: customers with certain orders, orders per customer, customers without any."""

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.conditions import AFTER
from xpm_build.domains.everyday.sql_groups import aggregated, compared_count, many_of
from xpm_build.domains.everyday.sql_joins import Pair, pair_of, said_names
from xpm_build.domains.everyday.sql_plain import Question, names_of
from xpm_build.domains.speech import ENGLISH


def _did(asker: Asker, pair: Pair, children: str) -> str:
    """What is said behind parents that have such children."""
    did = pair.child.entity.did.get(pair.by.field.name, "")
    if did and asker.rng.random() < 0.5:
        return f"who {did} {children}" if pair.parent.entity.is_people else f"that {did} {children}"
    return f"{asker.rng.choice(('with', 'that have', 'with'))} {children}"


def parents_of_children(asker: Asker) -> Question:
    """Customers with an order over 500; customers that have any order."""
    pair = pair_of(asker)
    if pair is None:
        raise Unfit
    theirs = asker.some_conditions(pair.parent, (0.3, 0.0))
    ours = asker.conditions_on(pair.child, 1) if asker.rng.random() < 0.75 else []
    is_vague = len(ours) == 1 and ours[0].place == AFTER and asker.rng.random() < 0.12
    children = asker.np(pair.child, ours, noun="something" if is_vague else "")
    parents = asker.np(pair.parent, theirs)
    conditions = [each.sql(f"{pair.p}.") for each in theirs] + [each.sql(f"{pair.c}.") for each in ours]
    clause = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    if not ours and asker.rng.random() < 0.6:
        request = asker.speaker.say("having_some", parents=parents, np=children)
        return request, f"SELECT DISTINCT {pair.p}.* FROM {pair.from_parent}{clause}"
    noun = f"{parents} {_did(asker, pair, children)}"
    if asker.rng.random() < 0.25 and pair.naming:
        request = asker.speaker.say("select", cols=said_names(asker, pair), np=noun)
        return request, f"SELECT DISTINCT {names_of(pair.naming, pair.p + '.')} FROM {pair.from_parent}{clause}"
    if asker.rng.random() < 0.15:
        count = f"COUNT(DISTINCT {pair.p}.{pair.parent.key.name})"
        return asker.speaker.say("count", np=noun), f"SELECT {count} FROM {pair.from_parent}{clause}"
    return asker.speaker.say("rows", np=noun), f"SELECT DISTINCT {pair.p}.* FROM {pair.from_parent}{clause}"


def _grouping(pair: Pair) -> str:
    names = [pair.parent.key, *pair.naming]
    return f" GROUP BY {names_of(names, pair.p + '.')}"


def count_per_parent(asker: Asker) -> Question:
    pair = pair_of(asker, named=True)
    if pair is None:
        raise Unfit
    shown = names_of(pair.naming, f"{pair.p}.")
    ours = asker.some_conditions(pair.child, (0.2, 0.0))
    words = {"np": asker.np(pair.child, ours), "parent": asker.one(pair.parent), "pcols": said_names(asker, pair)}
    if asker.rng.random() < 0.25 and not ours:
        request = asker.speaker.say(
            "count_per_zero",
            count=asker.speaker.say("count_per", **words),
            parents=asker.nouns(pair.parent),
            nouns=asker.nouns(pair.child),
        )
        join = f"{pair.parent.name} {pair.p} LEFT JOIN {pair.child.name} {pair.c} ON {pair.on}"
        key = f"{pair.c}.{pair.child.key.name}"
        return request, f"SELECT {shown}, COUNT({key}) FROM {join}{_grouping(pair)}"
    said, order = "", ""
    if asker.rng.random() < 0.25:
        said, order = asker.speaker.say("most_first"), " ORDER BY COUNT(*) DESC"
    kind = "count_per" if asker.rng.random() < 0.65 else "plain_count_per"
    request = asker.speaker.say(kind, parents=asker.nouns(pair.parent), **words) + said
    return (
        request,
        f"SELECT {shown}, COUNT(*) FROM {pair.from_parent}{where(ours, pair.c + '.')}{_grouping(pair)}{order}",
    )


def sum_per_parent(asker: Asker) -> Question:
    pair = pair_of(asker, named=True)
    found = aggregated(asker, pair.child, f"{pair.c}.") if pair is not None else None
    if pair is None or found is None:
        raise Unfit
    text, sql = found
    ours = asker.some_conditions(pair.child, (0.15, 0.0))
    words = {
        "agg": text,
        "np": asker.np(pair.child, ours),
        "parent": asker.one(pair.parent),
        "pcols": said_names(asker, pair),
    }
    shown, clause = names_of(pair.naming, f"{pair.p}."), where(ours, f"{pair.c}.")
    if asker.rng.random() < 0.2 and sql.startswith(("SUM", "AVG")):
        request = asker.speaker.say("most_sum", **words)
        return request, f"SELECT {shown} FROM {pair.from_parent}{clause}{_grouping(pair)} ORDER BY {sql} DESC LIMIT 1"
    said, order = "", ""
    if asker.rng.random() < 0.2:
        said, order = asker.speaker.say("most_first"), f" ORDER BY {sql} DESC"
    kind = "average_per" if asker.rng.random() < 0.65 else "plain_average_per"
    request = asker.speaker.say(kind, **words) + said
    return request, f"SELECT {shown}, {sql} FROM {pair.from_parent}{clause}{_grouping(pair)}{order}"


def parents_having(asker: Asker) -> Question:
    """Names of customers with more than three orders; the customer with the most."""
    pair = pair_of(asker, named=True)
    if pair is None:
        raise Unfit
    shown = names_of(pair.naming, f"{pair.p}.")
    ours = asker.some_conditions(pair.child, (0.15, 0.0))
    noun, pcols = asker.np(pair.child, ours), said_names(asker, pair)
    source = f"FROM {pair.from_parent}{where(ours, pair.c + '.')}{_grouping(pair)}"
    if asker.rng.random() < 0.35:
        request = asker.speaker.say("most_children", parent=asker.one(pair.parent), np=noun, pcols=pcols)
        return request, f"SELECT {shown} {source} ORDER BY COUNT(*) DESC LIMIT 1"
    cmp, comparison = compared_count(asker, most=2 if ours else 5)
    request = asker.speaker.say("parents_having", pcols=pcols, parents=asker.nouns(pair.parent), cmp=cmp, np=noun)
    return request, f"SELECT {shown} {source} HAVING COUNT(*) {comparison}"


def per_attribute(asker: Asker) -> Question:
    """Orders per country of the customer."""
    pair = pair_of(asker)
    groups = asker.groupable(pair.parent) if pair is not None else []
    if pair is None or not groups:
        raise Unfit
    column = asker.any(groups)
    words = {"np": asker.np(pair.child), "col": asker.mention(pair.parent, column), "parent": asker.one(pair.parent)}
    found = aggregated(asker, pair.child, f"{pair.c}.")
    kind, sql = "per_attribute", "COUNT(*)"
    if found is not None and asker.rng.random() < 0.5:
        kind, sql = "agg_per_attribute", found[1]
        words["agg"] = found[0]
    name = f"{pair.p}.{column.name}"
    if asker.rng.random() < 0.25:
        is_counted = kind == "per_attribute"
        words["cols"] = (
            f"{many_of(words['col'])} of the {asker.nouns(pair.parent)}" if is_counted else many_of(words["col"])
        )
        request = asker.speaker.say("group_ranked" if is_counted else "group_ranked_agg", **words)
        return request, f"SELECT {name} FROM {pair.from_parent} GROUP BY {name} ORDER BY {sql} DESC"
    said, order = "", ""
    if asker.rng.random() < 0.25:
        said, order = asker.speaker.say("most_first"), f" ORDER BY {sql} DESC"
    request = asker.speaker.say(kind, **words) + said
    return request, f"SELECT {name}, {sql} FROM {pair.from_parent} GROUP BY {name}{order}"


def without(asker: Asker) -> Question:
    """Customers without orders, or without unpaid ones."""
    pair = pair_of(asker)
    if pair is None:
        raise Unfit
    parent, child = pair.parent, pair.child
    ours = asker.some_conditions(child, (0.25, 0.0)) if asker.speaker.language == ENGLISH else []
    kind = "without"
    words = {"parents": asker.nouns(parent), "np": asker.np(child, ours)}
    what = "*"
    if pair.naming and asker.rng.random() < 0.35 and asker.speaker.language == ENGLISH:
        kind, what = "without_names", names_of(pair.naming)
        words["pcols"] = said_names(asker, pair)
    did = child.entity.did.get(pair.by.field.name, "")
    if did and asker.speaker.language == ENGLISH and asker.rng.random() < 0.35:
        kind, what = "never_did", "*"
        words["did"] = did
    inner = [*(each.sql() for each in ours), f"{pair.by.name} IS NOT NULL"]
    query = f"SELECT {pair.by.name} FROM {child.name} WHERE {' AND '.join(inner)}"
    return (
        asker.speaker.say(kind, **words),
        f"SELECT {what} FROM {parent.name} WHERE {parent.key.name} NOT IN ({query})",
    )


def exists(asker: Asker) -> Question:
    """As ``parents_of_children`` or ``without``, where EXISTS is asked for."""
    pair = pair_of(asker)
    if pair is None:
        raise Unfit
    ours = asker.conditions_on(pair.child, 1) if asker.rng.random() < 0.6 else []
    children = asker.np(pair.child, ours)
    is_without = asker.rng.random() < 0.4
    said = f"without {children}" if is_without else _did(asker, pair, children)
    request = asker.speaker.say("exists", request=asker.speaker.say("rows", np=f"{asker.nouns(pair.parent)} {said}"))
    conditions = " AND ".join([pair.on, *(each.sql(f"{pair.c}.") for each in ours)])
    inner = f"SELECT 1 FROM {pair.child.name} {pair.c} WHERE {conditions}"
    negation = "NOT " if is_without else ""
    return request, f"SELECT * FROM {pair.parent.name} {pair.p} WHERE {negation}EXISTS ({inner})"
