"""What the families of questions share: noun phrases with conditions, columns as people call them, the literals."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from xpm_build.domains.everyday.conditions import AFTER, BEFORE, INSTEAD, Condition, Conditions, Value
from xpm_build.domains.everyday.schema import Column, Schema, Table
from xpm_build.domains.everyday.translations import translated
from xpm_build.domains.everyday.worlds import plural
from xpm_build.domains.speech import ENGLISH, Speaker

_NO_GROUP = ("note", "text", "email", "phone", "address", "path", "from_mail", "filename", "code", "host", "nick")
_NUMBERS_TO_GROUP = ("year", "floor", "priority", "level", "stars", "season", "school_year", "status_code")


class Unfit(Exception):
    """The schema has nothing for a family: another one is drawn."""


@dataclass(slots=True)
class Asker:
    """``shown`` are the tables that a question needs, as it came upon them; those ``missing`` may not be there."""

    rng: random.Random
    speaker: Speaker
    schema: Schema
    literals: list[Value] = field(default_factory=list)
    shown: list[Table] = field(default_factory=list)
    missing: list[Table] = field(default_factory=list)
    conditions: Conditions = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = Conditions(self.rng, self.speaker, self.mention)

    # tables and columns

    def table(self, *kinds: str) -> Table:
        """A table that has columns of all these kinds, if there is one."""
        fitting = [each for each in self.schema.tables.values() if all(each.of(kind) for kind in kinds)]
        table = self.rng.choice(fitting or list(self.schema.tables.values()))
        return self.show(table)

    def show(self, table: Table) -> Table:
        if table not in self.shown:
            self.shown.append(table)
        return table

    @property
    def _tables(self) -> list[Table]:
        return list(self.schema.tables.values())

    def any(self, columns: Sequence[Column]) -> Column:
        """One of the columns.

        Raises:
            Unfit: there are none.
        """
        if not columns:
            raise Unfit
        return self.rng.choice(list(columns))

    def mention(self, table: Table, column: Column) -> str:
        """A column as people call it: its name, what it stands for, or the identifier itself."""
        if self.speaker.language != ENGLISH:
            return translated(column.field.spoken, self.speaker.language) or column.name
        taken = {said for each in table.columns if each != column for said in (*each.meaning.said, each.field.spoken)}
        draw = self.rng.random()
        others = [said for said in column.meaning.said if said not in taken]
        if draw < 0.4 and others:
            return self.rng.choice(others)
        if draw < 0.82 and column.kind != "key":
            return column.field.spoken
        return column.name

    def mentions(self, table: Table, columns: Sequence[Column], *, many: bool = False) -> str:
        """Several columns, listed as people do."""
        said = [self.mention(table, each) for each in columns]
        if many and self.speaker.language == ENGLISH and self.rng.random() < 0.55:
            said = [_many_of(text, column) for text, column in zip(said, columns, strict=True)]
        if len(said) == 1:
            return said[0]
        if self.speaker.language != ENGLISH:
            return f"{', '.join(said[:-1])} {self.speaker.say('and')} {said[-1]}"
        style = self.rng.random()
        if style < 0.15:
            return ", ".join(said)
        if style < 0.22:
            return " + ".join(said)
        return f"{', '.join(said[:-1])}{self.rng.choice((' and ', ' and ', ' and ', ' & '))}{said[-1]}"

    def groupable(self, table: Table) -> list[Column]:
        """Columns whose values several rows share."""
        texts = [each for each in table.of("text") if not each.meaning.names and each.meaning.name not in _NO_GROUP]
        return texts + [each for each in table.of("number") if each.meaning.name in _NUMBERS_TO_GROUP]

    def addable(self, table: Table) -> list[Column]:
        return [each for each in table.of("number") if each.meaning.adds]

    def measurable(self, table: Table) -> list[Column]:
        return [each for each in table.of("number") if each.meaning.means]

    def literal(self, value: Value) -> str:
        self.literals.append(value)
        return str(value)

    # noun phrases

    def nouns(self, table: Table) -> str:
        """What several rows are called."""
        entity = table.entity
        if self.speaker.language != ENGLISH:
            return translated(entity.many, self.speaker.language) or table.name
        if entity.is_people and self.rng.random() < 0.05 and sum(each.entity.is_people for each in self._tables) == 1:
            return "people"
        if entity.also and self.rng.random() < 0.22 and not self._is_ambiguous(entity.also):
            return self.rng.choice(entity.also)
        return entity.many

    def _is_ambiguous(self, nouns: Sequence[str]) -> bool:
        """Whether another table is called so."""
        names = {each.entity.many for each in self.schema.tables.values()}
        also = [noun for each in self.schema.tables.values() for noun in each.entity.also]
        return any(noun in names or also.count(noun) > 1 for noun in nouns)

    def one(self, table: Table) -> str:
        if self.speaker.language != ENGLISH:
            return translated(table.entity.one, self.speaker.language) or table.entity.one
        return table.entity.one

    def np(
        self,
        table: Table,
        conditions: Sequence[Condition] = (),
        *,
        joiner: str = "and",
        one: bool = False,
        noun: str = "",
    ) -> str:
        """A noun with its conditions: "unpaid invoices from Rome"; notes their literals."""
        for each in conditions:
            self.literals += each.values
        noun = noun or (self.one(table) if one else self.nouns(table))
        instead = next((each for each in conditions if each.place == INSTEAD), None)
        if instead is not None:
            noun = instead.text
        others = [each for each in conditions if each is not instead]
        if joiner == "or" and instead is not None:
            others, noun = list(conditions), self.nouns(table)
        if joiner == "or":
            behind = f" {self.speaker.say('or')} ".join(self._behind(each) for each in others)
            before = ""
        else:
            before = " ".join(each.text for each in others if each.place == BEFORE)
            parts = [each.text for each in others if each.place == AFTER]
            behind = self._joined(parts)
        hints = [each.hint for each in conditions if each.hint]
        hint = f"({', '.join(hints)})" if hints else ""
        return " ".join(part for part in (before, noun, behind, hint) if part)

    def _joined(self, parts: list[str]) -> str:
        if len(parts) < 2:
            return "".join(parts)
        if self.speaker.language != ENGLISH:
            return f" {self.speaker.say('and')} ".join(parts)
        return self.rng.choice((" and ", " and ", " ", ", ")).join(parts)

    def _behind(self, condition: Condition) -> str:
        """What is said behind the noun, whatever the place of the wording."""
        if condition.place == AFTER:
            return condition.text
        return f"that are {condition.text}"

    # conditions

    def conditions_on(self, table: Table, count: int, *, form: str = "", one: bool = False) -> list[Condition]:
        """``count`` conditions on different columns, those with a meaning first."""
        kinds = {"like": ("text",), "between": ("number", "date"), "null": ("text", "date")}
        columns = [each for each in table.columns if each.kind in kinds.get(form, ("number", "text", "date", "flag"))]
        columns = columns or table.of("number", "text", "date", "flag")
        if not columns:
            raise Unfit
        weights = [_WEIGHTS.get(each.kind, 1.0) for each in columns]
        chosen: list[Column] = []
        while len(chosen) < min(count, len(columns)):
            column = self.rng.choices(columns, weights=weights)[0]
            if column not in chosen:
                chosen.append(column)
        wanted = {
            "like": self.rng.choice(("starts", "ends", "contains")),
            "null": self.rng.choice(("null", "not_null")),
        }
        return [
            self.conditions.draw(table, each, form=wanted.get(form, form) if number == 0 else "", is_one=one)
            for number, each in enumerate(chosen)
        ]

    def some_conditions(self, table: Table, shares: tuple[float, float], *, one: bool = False) -> list[Condition]:
        """None, one or two conditions; ``shares`` is how often one, and two."""
        draw = self.rng.random()
        count = 2 if draw < shares[1] else 1 if draw < shares[0] + shares[1] else 0
        return self.conditions_on(table, count, one=one)


def where(conditions: Sequence[Condition], qualifier: str = "", joiner: str = "AND") -> str:
    """`` WHERE …``; "" without conditions."""
    return f" WHERE {f' {joiner} '.join(each.sql(qualifier) for each in conditions)}" if conditions else ""


def _many_of(text: str, column: Column) -> str:
    if (text == column.name and "_" in text) or text.endswith("s") or text.rpartition(" ")[2] in _UNITS:
        return text
    return plural(text)


_UNITS = (
    "mm",
    "cm",
    "m",
    "km",
    "km2",
    "kg",
    "mg",
    "kw",
    "mw",
    "kwh",
    "kmh",
    "mb",
    "gb",
    "kb",
    "ms",
    "on",
    "at",
    "off",
    "since",
)
_WEIGHTS = {"text": 1.2, "number": 1.1, "date": 0.8, "flag": 1.3}
