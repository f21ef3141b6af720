"""Questions about the rows of one table: all of them, those that meet conditions, the best and the first."""

from collections.abc import Callable

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.conditions import AFTER, Condition
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.speech import ENGLISH

Question = tuple[str, str]
"""What is asked, and the SQL without its semicolon."""


def names_of(columns: list[Column], qualifier: str = "") -> str:
    return ", ".join(f"{qualifier}{each.name}" for each in columns)


def rows(asker: Asker, shares: tuple[float, float] = (0.8, 0.12), form: str = "") -> Question:
    table = asker.table()
    conditions = asker.conditions_on(table, 1, form=form) if form else asker.some_conditions(table, shares)
    kind = "who_are" if _is_about_people(asker, table) and asker.rng.random() < 0.08 else "rows"
    request = asker.speaker.say(kind, np=asker.np(table, conditions))
    return request, f"SELECT * FROM {table.name}{where(conditions)}"


def _is_about_people(asker: Asker, table: Table) -> bool:
    return table.entity.is_people and asker.speaker.language == ENGLISH


def two(asker: Asker) -> Question:
    """Rows, columns or a count, with two conditions or three."""
    table = asker.table()
    joiner = "or" if asker.rng.random() < 0.25 else "and"
    conditions = asker.conditions_on(table, 3 if asker.rng.random() < 0.1 else 2)
    noun = asker.np(table, conditions, joiner=joiner)
    clause = where(conditions, joiner=joiner.upper())
    draw = asker.rng.random()
    if draw < 0.6:
        return asker.speaker.say("rows", np=noun), f"SELECT * FROM {table.name}{clause}"
    if draw < 0.8:
        return asker.speaker.say("count", np=noun), f"SELECT COUNT(*) FROM {table.name}{clause}"
    columns = chosen_columns(asker, table)
    request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
    return request, f"SELECT {names_of(columns)} FROM {table.name}{clause}"


def chosen_columns(asker: Asker, table: Table, most: int = 3) -> list[Column]:
    """Columns that somebody may want to see, the naming one often among them."""
    count = min(asker.rng.choices((1, 2, 3), weights=(6, 4, 1.5))[0], most)
    columns = [each for each in table.columns if each.kind not in ("key", "reference", "flag")]
    if not columns:
        raise Unfit
    naming = table.naming
    if naming and asker.rng.random() < 0.7:
        others = [each for each in columns if each not in naming]
        return naming[:count] + asker.rng.sample(others, min(max(0, count - len(naming)), len(others)))
    return asker.rng.sample(columns, min(count, len(columns)))


def select(asker: Asker, shares: tuple[float, float] = (0.6, 0.08)) -> Question:
    table = asker.table()
    columns = chosen_columns(asker, table)
    conditions = asker.some_conditions(table, shares)
    cols = asker.mentions(table, columns, many=True)
    is_everyone = _is_about_people(asker, table) and conditions and all(each.place == AFTER for each in conditions)
    noun = asker.rng.choice(("everyone", "everybody")) if is_everyone and asker.rng.random() < 0.15 else ""
    request = asker.speaker.say("select", cols=cols, np=asker.np(table, conditions, noun=noun))
    return request, f"SELECT {names_of(columns)} FROM {table.name}{where(conditions)}"


def everyone(asker: Asker) -> Question:
    """ "Everybody born before 1990", "anything under 20": the rows, without a word for them."""
    table = asker.table()
    condition = _plain_one(asker, table, is_one=False)
    if condition is None or (len(asker.schema.tables) > 1 and asker.rng.random() < 0.3):
        raise Unfit
    asker.literals += condition.values
    kind = "everyone" if table.entity.is_people else "whats"
    if kind == "whats" and condition.text.split(" ")[0] in ("with", "whose", "where", "of", "without"):
        raise Unfit
    return asker.speaker.say(kind, post=condition.text), f"SELECT * FROM {table.name}{where([condition])}"


def who(asker: Asker) -> Question:
    people = [each for each in asker.schema.tables.values() if each.entity.is_people and each.naming]
    if not people:
        raise Unfit
    table = asker.show(asker.rng.choice(people))
    condition = _plain_one(asker, table)
    if condition is None:
        raise Unfit
    asker.literals += condition.values
    kind = "everyone_names" if condition.place == AFTER and asker.rng.random() < 0.3 else "who"
    request = asker.speaker.say(kind, post=condition.text, nouns=asker.nouns(table))
    return request, f"SELECT {names_of(table.naming)} FROM {table.name}{where([condition])}"


def _plain_one(asker: Asker, table: Table, *, is_one: bool = True) -> Condition | None:
    """A condition that goes behind "who is", or with ``is_one`` False behind "everyone" alone."""
    for _ in range(8):
        condition = asker.conditions_on(table, 1, one=True)[0]
        first = condition.text.split(" ")[0]
        if condition.place == AFTER and not is_one and first not in ("that", "except"):
            return condition
        if (
            first not in ("who", "with", "that", "whose", "where", "without", "of", "not", "except")
            and not condition.hint
        ):
            return condition
    return None


def named(asker: Asker) -> Question:
    """Asked with the identifiers themselves, so that it needs no schema."""
    table = asker.table()
    columns = chosen_columns(asker, table)
    conditions: list[Condition] = []
    if asker.rng.random() < 0.6:
        column = asker.any(table.of("number", "text", "flag"))
        form = asker.rng.choice(("eq", "gt", "lt", "ge", "ne")) if column.kind == "number" else "eq"
        conditions.append(asker.conditions.draw(table, column, form=form))
    said = ""
    if conditions:
        condition = conditions[0]
        asker.literals += condition.values
        operator, _, value = condition.tail.partition(" ")
        word = asker.rng.choice(_OPERATOR_WORDS.get(operator, ("=",)))
        said = asker.speaker.say("named_where", cond=f"{condition.column.name} {word} {value}")
    draw = asker.rng.random()
    if draw < 0.65:
        cols = asker.rng.choice((", ", ", ", " and ")).join(each.name for each in columns)
        request = asker.speaker.say("named", cols=cols, table=table.name, where=said)
        return request, f"SELECT {names_of(columns)} FROM {table.name}{where(conditions)}"
    kind, what = ("named_all", "*") if draw < 0.85 else ("named_count", "COUNT(*)")
    request = asker.speaker.say(kind, table=table.name, where=said)
    return request, f"SELECT {what} FROM {table.name}{where(conditions)}"


_OPERATOR_WORDS = {
    "=": ("=", "is", "equals", "="),
    "<>": ("is not", "!=", "<>", "is different from"),
    ">": (">", "is greater than", "over", "is more than", "above"),
    "<": ("<", "is less than", "under", "is below"),
    ">=": (">=", "is at least", "at least"),
}


def count(asker: Asker, shares: tuple[float, float] = (0.72, 0.1)) -> Question:
    table = asker.table()
    conditions = asker.some_conditions(table, shares)
    request = asker.speaker.say("count", np=asker.np(table, conditions))
    return request, f"SELECT COUNT(*) FROM {table.name}{where(conditions)}"


def of_form(form: str) -> Callable[[Asker], Question]:
    """A family that is about one form of condition, whatever is asked of the rows."""

    def make(asker: Asker) -> Question:
        table = asker.table(*{"like": ("text",), "between": ("number",), "null": ("text",)}.get(form, ()))
        conditions = asker.conditions_on(table, 1, form=form)
        if conditions[0].form not in _FORMS_OF[form]:
            raise Unfit
        noun = asker.np(table, conditions)
        draw = asker.rng.random()
        if draw < 0.55:
            return asker.speaker.say("rows", np=noun), f"SELECT * FROM {table.name}{where(conditions)}"
        if draw < 0.75:
            return asker.speaker.say("count", np=noun), f"SELECT COUNT(*) FROM {table.name}{where(conditions)}"
        columns = chosen_columns(asker, table)
        if conditions[0].column.kind == "text" and asker.rng.random() < 0.4:
            columns = [conditions[0].column]
        request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
        return request, f"SELECT {names_of(columns)} FROM {table.name}{where(conditions)}"

    return make


_FORMS_OF = {
    "like": ("starts", "ends", "contains"),
    "null": ("null", "not_null"),
    "in": ("in",),
    "between": ("between",),
}


def superlatives(asker: Asker, table: Table) -> list[tuple[str, Column, bool]]:
    """(wording, column, whether it means the greatest) of a table, without those that two columns share."""
    found: list[tuple[str, Column, bool]] = []
    for column in table.of("number", "date"):
        for kind, is_greatest in (("most", True), ("least", False), ("latest", True), ("first", False)):
            found += [(each, column, is_greatest) for each in column.meaning.say(kind)]
    words = [each for each, _, _ in found]
    return [each for each in found if words.count(each[0]) == 1]


def superlative(asker: Asker) -> Question:
    """The cheapest one, the newest one, who earns the most."""
    table = asker.table()
    who_words = [
        (each, column, kind == "who_most")
        for column in table.of("number")
        for kind in ("who_most", "who_least")
        for each in column.meaning.say(kind)
    ]
    if who_words and table.naming and asker.rng.random() < 0.45:
        verb, column, is_greatest = asker.rng.choice(who_words)
        request = asker.speaker.say("who_sup", verb=verb, nouns=asker.nouns(table))
        order = f" ORDER BY {column.name}{' DESC' if is_greatest else ''} LIMIT 1"
        return request, f"SELECT {names_of(table.naming)} FROM {table.name}{order}"
    found = superlatives(asker, table)
    if not found:
        raise Unfit
    word, column, is_greatest = asker.rng.choice(found)
    conditions = [each for each in asker.some_conditions(table, (0.4, 0.04), one=True) if each.column != column]
    order = f"{where(conditions)} ORDER BY {column.name}{' DESC' if is_greatest else ''} LIMIT 1"
    noun = f"{word} {asker.np(table, conditions, one=True)}"
    group = [each for each in table.of("text") if each.meaning.name in DOERS]
    if group and asker.rng.random() < 0.25:
        column = asker.any(group)
        request = asker.speaker.say("sup_group", col=asker.mention(table, column), sup=noun)
        return request, f"SELECT {column.name} FROM {table.name}{order}"
    if asker.rng.random() < 0.3:
        columns = chosen_columns(asker, table, most=2)
        request = asker.speaker.say("sup_select", cols=asker.mentions(table, columns), sup=noun)
        return request, f"SELECT {names_of(columns)} FROM {table.name}{order}"
    return asker.speaker.say("sup", sup=noun), f"SELECT * FROM {table.name}{order}"


DOERS = (
    "owner",
    "by",
    "by_person",
    "vendor",
    "assignee",
    "manager_name",
    "maker",
    "author",
    "artist",
    "director",
    "by_first",
)


_NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()


def spoken_count(asker: Asker, number: int) -> str:
    is_word = number < len(_NUMBER_WORDS) and asker.speaker.language == ENGLISH and asker.rng.random() < 0.4
    return _NUMBER_WORDS[number] if is_word else str(number)


def top(asker: Asker) -> Question:
    """The n cheapest ones, the last n, the n with the highest something."""
    table = asker.table("number")
    number = asker.rng.choice((2, 3, 3, 5, 5, 10, 10, 20, asker.rng.randint(2, 25)))
    spoken = spoken_count(asker, number)
    conditions = asker.some_conditions(table, (0.3, 0.0))
    english = asker.speaker.language == ENGLISH
    found = superlatives(asker, table) if english else []
    if english and asker.rng.random() < 0.08:
        request = asker.speaker.say("limit", n=spoken, np=asker.np(table, conditions))
        return request, f"SELECT * FROM {table.name}{where(conditions)} LIMIT {number}"
    if found and asker.rng.random() < 0.65:
        word, column, is_greatest = asker.rng.choice(found)
        conditions = [each for each in conditions if each.column != column]
        kind = "latest_n" if column.kind == "date" and is_greatest and word == "newest" else "top"
        request = asker.speaker.say(kind, n=spoken, sup=word, latest=word, np=asker.np(table, conditions))
    else:
        measured = asker.measurable(table)
        if not measured:
            raise Unfit
        column, is_greatest = asker.any(measured), not english or asker.rng.random() < 0.7
        conditions = [each for each in conditions if each.column != column]
        kind = "top_by" if is_greatest else "bottom_by"
        request = asker.speaker.say(kind, n=spoken, np=asker.np(table, conditions), col=asker.mention(table, column))
    asker.literals.append(number)
    what = "*"
    if english and asker.rng.random() < 0.2:
        columns = chosen_columns(asker, table, most=2)
        what = names_of(columns)
        request = f"{request}{asker.rng.choice((', just ', ', only ', ': ', ' - '))}{asker.mentions(table, columns)}"
    order = f" ORDER BY {column.name}{' DESC' if is_greatest else ''} LIMIT {number}"
    return request, f"SELECT {what} FROM {table.name}{where(conditions)}{order}"


def order(asker: Asker) -> Question:
    """Rows or columns in an order."""
    draw = asker.rng.random()
    table = asker.table()
    conditions = asker.some_conditions(table, (0.5, 0.0))
    noun = asker.np(table, conditions)
    if draw < 0.5:
        columns = chosen_columns(asker, table)
        request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
        what = names_of(columns)
    else:
        columns, what = [], "*"
        request = asker.speaker.say("rows", np=noun)
    said, sql = _ordered(asker, table, columns)
    return request + said, f"SELECT {what} FROM {table.name}{where(conditions)}{sql}"


def _ordered(asker: Asker, table: Table, columns: list[Column]) -> tuple[str, str]:
    english = asker.speaker.language == ENGLISH
    found = superlatives(asker, table) if english else []
    if found and asker.rng.random() < 0.3:
        word, column, is_greatest = asker.rng.choice(found)
        return asker.speaker.say("sup_order", sup=word), f" ORDER BY {column.name}{' DESC' if is_greatest else ''}"
    options = [each for each in columns or table.columns if each.kind in ("number", "text", "date")]
    column = asker.any(options or table.of("number", "text", "date"))
    kind = (
        asker.rng.choice(("asc", "desc")) if column.kind != "text" else asker.rng.choice(("asc", "asc", "asc", "desc"))
    )
    suffix = {"text": "_text", "date": "_date"}.get(column.kind, "") if english else ""
    said = asker.speaker.say(kind + suffix, col=asker.mention(table, column))
    more = ""
    others = [each for each in options if each != column]
    if english and others and asker.rng.random() < 0.1:
        second = asker.any(others)
        said += f"{asker.rng.choice((', then by ', ' and then ', ' then '))}{asker.mention(table, second)}"
        more = f", {second.name}"
    return said, f" ORDER BY {column.name}{' DESC' if kind == 'desc' else ''}{more}"
