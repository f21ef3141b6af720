"""One condition on a column: how people say it, and the comparison that it is."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.worlds import plural
from xpm_build.domains.speech import ENGLISH, Speaker

Value = str | int

BEFORE, INSTEAD, AFTER = "^", "=", ""
_SEVERAL = re.compile(
    r"\b(are|have|were|haven't|earn|weigh|cost|hold|scored?|take|last|speak|gave|don't|came|need|each)\b"
)
_MONTHS = "January February March April May June July August September October November December".split()
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()
_SPANS = {15: "a quarter of an hour", 30: "half an hour", 60: "an hour", 90: "an hour and a half", 120: "two hours"}
_ARE_NOT = ("are not", "aren't")
_LAST_DAY = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Condition:
    """``text`` is said before the noun, after it or instead of it: ``place``. ``tail`` is SQL behind the column."""

    column: Column
    tail: str
    text: str
    place: str
    form: str
    values: tuple[Value, ...]
    hint: str = ""

    def sql(self, qualifier: str = "") -> str:
        return f"{qualifier}{self.column.name} {self.tail}"


def quoted(value: Value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@dataclass(slots=True)
class Conditions:
    """Makes conditions on the columns of one table; ``mention`` says a column."""

    rng: random.Random
    speaker: Speaker
    mention: Callable[[Table, Column], str]

    def draw(self, table: Table, column: Column, *, form: str = "", is_one: bool = False) -> Condition:
        """A condition on ``column``.

        Args:
            form: a certain one, where the column's kind knows it: eq, in, null, between, ...
            is_one: it is said of a single thing, so no wording in the plural will do.
        """
        kind = column.kind
        forms = _FORMS["number" if kind in ("key", "reference") else kind]
        allowed = {each: weight for each, weight in forms.items() if self._knows(column, each)}
        form = form if form in allowed else self.rng.choices(list(allowed), weights=list(allowed.values()))[0]
        if kind == "flag":
            return self._flag(table, column, is_one)
        if kind == "text":
            return self._text(table, column, form, is_one)
        if kind == "date":
            return self._date(table, column, form, is_one)
        return self._number(table, column, form, is_one)

    def _knows(self, column: Column, form: str) -> bool:
        meaning = column.meaning
        if form in ("zero", "positive", "negative"):
            return bool(meaning.say(form))
        if form in ("null", "not_null"):
            return not meaning.names
        if form in ("starts", "ends", "contains"):
            return any(each == form for each, _ in meaning.like) or (form != "ends" and meaning.names)
        return True

    def _own(self, table: Table, column: Column, kind: str, is_one: bool, **values: str) -> tuple[str, str] | None:
        """(place, text) in a wording of the column's own, unless another column of the table has the same."""
        if self.speaker.language != ENGLISH:
            return None
        others = {
            wording
            for each in table.columns
            if each != column and each.meaning.name != column.meaning.name
            for wording in each.meaning.say(kind)
        }
        twins = [each for each in table.columns if each.meaning.name == column.meaning.name]
        wordings = [
            each
            for each in column.meaning.say(kind)
            if each not in others and not (is_one and (_SEVERAL.search(each) or each.startswith("=")))
        ]
        if not wordings or len(twins) > 1:
            return None
        wording = self.rng.choice(wordings)
        place = wording[0] if wording[0] in "^=" else AFTER
        text = wording[len(place) :]
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return place, text

    def _worded(
        self, table: Table, column: Column, kinds: tuple[str, str], is_one: bool, share: float, **values: str
    ) -> tuple[str, str]:
        """In the column's own words for ``kinds[0]`` mostly, else in a sentence frame for ``kinds[1]``."""
        own = self._own(table, column, kinds[0], is_one, **values) if self.rng.random() < share else None
        if own is not None:
            return own
        return AFTER, self.speaker.say(kinds[1], col=self.mention(table, column), **values)

    # numbers

    def number(self, column: Column) -> int:
        meaning = column.meaning
        if column.kind in ("key", "reference"):
            return self.rng.randint(1, self.rng.choice((40, 200, 5000)))
        if meaning.choices:
            return self.rng.choice(meaning.choices)
        least, most, step = meaning.bounds
        return self.rng.randrange(least, most + 1, step)

    def spoken_number(self, value: int) -> str:
        if 1 < value < len(_NUMBER_WORDS) and self.speaker.language == ENGLISH and self.rng.random() < 0.15:
            return _NUMBER_WORDS[value]
        if value >= 1000 and self.rng.random() < 0.12 and not 1850 <= value <= 2030:
            return f"{value:,}"
        if value >= 10_000 and value % 1000 == 0 and self.rng.random() < 0.12:
            return f"{value // 1000}k"
        return str(value)

    def _number(self, table: Table, column: Column, form: str, is_one: bool) -> Condition:
        if form in ("zero", "positive", "negative"):
            plain = {"zero": "eq", "positive": "gt", "negative": "lt"}[form]
            place, text = self._own(table, column, form, is_one) or (
                AFTER,
                self.speaker.say(plain, col=self.mention(table, column), v="0"),
            )
            return Condition(column, f"{_OPERATORS[plain]} 0", text, place, form, (0,))
        if form in ("null", "not_null"):
            return self._null(table, column, form, is_one)
        if form == "between":
            values = sorted({self.number(column), self.number(column)})
            if len(values) == 2:
                spoken = {"v": str(values[0]), "w": str(values[1])}
                place, text = self._worded(table, column, ("between", form), is_one, 0.6, **spoken)
                return Condition(column, f"BETWEEN {values[0]} AND {values[1]}", text, place, form, tuple(values))
            form = "eq"
        if form == "in":
            return self._in(table, column, [self.number(column) for _ in range(self.rng.choice((2, 2, 3)))])
        value = self.number(column)
        own = {"gt": "more", "lt": "less", "ge": "atleast", "le": "atmost", "eq": "same"}.get(form, "")
        place, text = self._worded(table, column, (own, form), is_one, 0.78, v=self.spoken_number(value))
        if f"{value} minutes" in text and value in _SPANS and self.rng.random() < 0.3:
            text = text.replace(f"{value} minutes", _SPANS[value])
        return Condition(column, f"{_OPERATORS[form]} {value}", text, place, form, (value,))

    # texts

    def text(self, column: Column) -> str:
        return self.rng.choice(column.field.values)

    def spoken_text(self, value: str) -> str:
        draw = self.rng.random()
        return f"'{value}'" if draw < 0.16 else f'"{value}"' if draw < 0.24 else value

    def _text(self, table: Table, column: Column, form: str, is_one: bool) -> Condition:
        if form in ("null", "not_null"):
            return self._null(table, column, form, is_one)
        if form in ("starts", "ends", "contains"):
            fitting = [text for each, text in column.meaning.like if each == form]
            value = self.rng.choice(fitting) if fitting else self._piece(column, form)
            said = self.speaker.say(form, col=self.mention(table, column), v=self.spoken_text(value))
            pattern = {"starts": f"{value}%", "ends": f"%{value}", "contains": f"%{value}%"}[form]
            return Condition(column, f"LIKE {quoted(pattern)}", said, AFTER, form, (value,))
        if form in ("in", "not_in"):
            values = list(dict.fromkeys(self.text(column) for _ in range(self.rng.choice((2, 2, 2, 3)))))
            if len(values) > 1:
                return self._in(table, column, values, is_not=form == "not_in")
            form = "eq"
        value = self.text(column)
        own = self._own(table, column, "is", is_one, v=self._in_words(column, value))
        if form == "ne":
            said = self.speaker.say("ne", col=self.mention(table, column), v=self.spoken_text(value))
            if own is not None and own[0] == AFTER and self.rng.random() < 0.6:
                said = f"{'that are ' if not is_one else ''}not {own[1]}"
            elif own is not None and own[0] == BEFORE and not is_one and self.rng.random() < 0.7:
                said = f"that {self.rng.choice(_ARE_NOT)} {own[1]}"
            return Condition(column, f"<> {quoted(value)}", said, AFTER, form, (value,))
        if own is None or self.rng.random() < 0.2:
            said = self.speaker.say("eq", col=self.mention(table, column), v=self.spoken_text(value))
            return Condition(column, f"= {quoted(value)}", said, AFTER, form, (value,))
        place, said = own
        if place == INSTEAD:
            said = plural(value)
        hint = f"{column.name} {quoted(value)}" if place == INSTEAD and self.rng.random() < 0.35 else ""
        return Condition(column, f"= {quoted(value)}", said, place, form, (value,), hint)

    def _in_words(self, column: Column, value: str) -> str:
        is_code = column.meaning.names or not value.isalpha()
        return self.spoken_text(value) if is_code and self.rng.random() < 0.5 else value

    def _piece(self, column: Column, form: str) -> str:
        value = self.text(column)
        if form == "starts":
            return value[0] if self.rng.random() < 0.5 else value.split(" ")[0][: self.rng.choice((2, 3))]
        return self.rng.choice(value.split(" "))

    def _in(self, table: Table, column: Column, values: Sequence[Value], *, is_not: bool = False) -> Condition:
        texts = [str(each) for each in dict.fromkeys(values)]
        joiner = "or" if self.speaker.language == ENGLISH else self.speaker.say("or")
        spoken = f"{', '.join(texts[:-1])} {joiner} {texts[-1]}" if len(texts) > 1 else texts[0]
        listed = ", ".join(quoted(each) for each in dict.fromkeys(values))
        mention = self.mention(table, column)
        if is_not and self.speaker.language == ENGLISH:
            values = list(dict.fromkeys(values))[:2]
            listed = ", ".join(map(quoted, values))
            said = self.speaker.say("not_in", col=mention, v=str(values[0]), w=str(values[-1]), list=listed)
            return Condition(column, f"NOT IN ({listed})", said, AFTER, "not_in", tuple(values))
        own = self._own(table, column, "is" if column.kind == "text" else "same", False, v=spoken)
        if own is not None and own[0] == AFTER and self.rng.random() < 0.7:
            said = own[1].replace(spoken, f"either {spoken}", 1) if self.rng.random() < 0.25 else own[1]
            return Condition(column, f"IN ({listed})", said, AFTER, "in", tuple(values))
        said = self.speaker.say("in", col=mention, vs=spoken, list=listed)
        return Condition(column, f"IN ({listed})", said, AFTER, "in", tuple(values))

    # dates and NULL

    def date(self) -> tuple[int, int, int]:
        month = self.rng.randint(1, 12)
        day = 1 if self.rng.random() < 0.4 else self.rng.randint(1, 28)
        return self.rng.randint(2012, 2025), month, day

    def spoken_date(self, year: int, month: int, day: int) -> str:
        draw = self.rng.random()
        if self.speaker.language != ENGLISH or draw < 0.78:
            return f"{year}-{month:02}-{day:02}"
        name = _MONTHS[month - 1]
        return self.rng.choice((f"{name} {day}, {year}", f"{day} {name} {year}", f"{name} {day} {year}"))

    def _date(self, table: Table, column: Column, form: str, is_one: bool) -> Condition:
        if form in ("null", "not_null"):
            return self._null(table, column, form, is_one)
        year, month, day = self.date()
        done = column.meaning.done if self.speaker.language == ENGLISH else ""
        if form in ("year", "month", "between"):
            start, end = f"{year}-01-01", f"{year}-12-31"
            spoken = str(year)
            if form == "month":
                start, end = f"{year}-{month:02}-01", f"{year}-{month:02}-{_LAST_DAY[month - 1] + _leap(year, month)}"
                spoken = f"{_MONTHS[month - 1]} {year}" if self.speaker.language == ENGLISH else f"{year}-{month:02}"
            if form == "between":
                start = f"{year}-{month:02}-{day:02}"
                end = f"{year + self.rng.randint(0, 2)}-12-{self.rng.randint(10, 31)}"
                start, end = sorted((start, end))
                mention = self.mention(table, column)
                said = (
                    f"{done} between {start} and {end}"
                    if done and self.rng.random() < 0.7
                    else self.speaker.say("between", col=mention, v=start, w=end)
                )
            elif done and self.rng.random() < 0.75:
                said = f"{done} {self.rng.choice(('in', 'in', 'during'))} {spoken}"
            else:
                said = self.speaker.say("year_is", col=self.mention(table, column), v=spoken)
            return Condition(column, f"BETWEEN '{start}' AND '{end}'", said, AFTER, form, (start, end))
        is_year = form != "on" and self.rng.random() < 0.3
        if is_year:
            date, spoken = f"{year + (form == 'after')}-01-01", str(year)
        else:
            date, spoken = f"{year}-{month:02}-{day:02}", self.spoken_date(year, month, day)
        operator = {"after": ">=" if is_year else ">", "since": ">=", "before": "<", "until": "<=", "on": "="}[form]
        if (done and self.rng.random() < 0.8) or form in ("since", "until"):
            verb = done or self.speaker.say("on", col=self.mention(table, column), v="").strip()
            word = {"after": "after", "since": "since", "before": "before", "until": "until", "on": "on"}[form]
            said = f"{verb} {word} {spoken}"
        else:
            said = self.speaker.say(form, col=self.mention(table, column), v=spoken)
        if form == "until" and is_year:
            date = f"{year}-12-31"
        return Condition(column, f"{operator} '{date}'", said, AFTER, form, (date,))

    def _null(self, table: Table, column: Column, form: str, is_one: bool) -> Condition:
        own = "none" if form == "null" else "some"
        place, said = self._worded(table, column, (own, form), is_one, 0.75)
        test = "is null" if form == "null" else "is not null"
        hint = f"{self.rng.choice(('', '', 'i.e. '))}{column.name} {test}" if self.rng.random() < 0.12 else ""
        return Condition(column, test.upper(), said, place, form, (), hint)

    def _flag(self, table: Table, column: Column, is_one: bool) -> Condition:
        value = self.rng.choice((0, 1))
        return self.flag(table, column, value, is_one=is_one)

    def flag(self, table: Table, column: Column, value: int, *, is_one: bool = False) -> Condition:
        """``paid`` is 0, say: "unpaid", perhaps with a hint at what 0 means."""
        own = self._own(table, column, "yes" if value else "no", is_one)
        if own is None or self.rng.random() < 0.12:
            said = self.speaker.say("flag", col=self.mention(table, column), v=str(value))
            return Condition(column, f"= {value}", said, AFTER, "eq", (value,))
        hint = self._flag_hint(column, value, own[1] if own[0] == BEFORE else "") if self.rng.random() < 0.32 else ""
        return Condition(column, f"= {value}", own[1], own[0], "eq", (value,), hint)

    def _flag_hint(self, column: Column, value: int, text: str) -> str:
        if self.speaker.language != ENGLISH:
            return f"{column.name} = {value}"
        forms = (
            f"{column.name} = {value}",
            f"{column.name} is {value}",
            f"{column.name} = {value}",
            f"{column.name} is 1 or 0",
            f"{column.name} = {value} means {text}" if text else f"{column.name}={value}",
            f"{column.name} is {value} then",
            f"{column.name}: 1 yes, 0 no",
        )
        return self.rng.choice(forms)


def _leap(year: int, month: int) -> int:
    return int(month == 2 and year % 4 == 0)


_OPERATORS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "=", "ne": "<>"}
_FORMS: dict[str, dict[str, float]] = {
    "number": {
        "gt": 9,
        "lt": 9,
        "ge": 4,
        "le": 3,
        "eq": 4,
        "ne": 1,
        "between": 3,
        "in": 1,
        "null": 1,
        "not_null": 0.4,
        "zero": 4,
        "negative": 4,
        "positive": 3,
    },
    "text": {
        "eq": 16,
        "ne": 2.5,
        "in": 3,
        "not_in": 0.8,
        "starts": 1.2,
        "ends": 1.5,
        "contains": 2,
        "null": 1.5,
        "not_null": 1,
    },
    "date": {
        "after": 4,
        "since": 2.5,
        "before": 4,
        "until": 0.6,
        "year": 4,
        "month": 2,
        "between": 1.5,
        "on": 1.5,
        "null": 2,
        "not_null": 1,
    },
    "flag": {"eq": 1},
}
