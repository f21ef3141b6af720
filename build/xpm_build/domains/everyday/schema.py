"""A schema as somebody may have made it: some of a world's tables and columns, named in one style and written down."""

import random
import re
import unicodedata
from dataclasses import dataclass

from xpm_build.domains.everyday.translations import translated
from xpm_build.domains.everyday.worlds import Entity, Field, Meaning, World, worlds_of
from xpm_build.domains.words import Vocabulary

_KEY = Meaning(name="key", kind="key")
_JUDGED = {"flag": "number"}
# What databases keep for themselves, so that no table or column is called so.
_KEYWORDS = frozenset(
    "add all alter and as asc between by case check class column commit create cross current_date default "
    "delete desc distinct drop else end except exists foreign from full grant group having in index inner "
    "insert intersect into is join key left like limit match natural not null offset on or order outer "
    "plan primary references right row select set table then to transaction trigger union unique update "
    "user using values view when where with".split()
)
_STYLES = {"snake": 58, "camel": 16, "pascal": 9, "upper": 5, "one": 12}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a schema names it."""

    name: str
    field: Field

    @property
    def kind(self) -> str:
        """key, reference, number, flag, text or date."""
        return self.field.meaning.kind

    @property
    def meaning(self) -> Meaning:
        return self.field.meaning

    @property
    def judged(self) -> str:
        """Its kind as the judge of SQL knows it."""
        return _JUDGED.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True)
class Table:
    entity: Entity
    name: str
    columns: tuple[Column, ...]

    def of(self, *kinds: str) -> list[Column]:
        return [each for each in self.columns if each.kind in kinds]

    @property
    def key(self) -> Column:
        return self.columns[0]

    @property
    def naming(self) -> list[Column]:
        """The columns that tell people which row it is: perhaps none, two where a first name goes with a last."""
        first = [each for each in self.columns if each.meaning.name == "first_name"]
        names = [each for each in self.columns if each.meaning.names][:1]
        return first + names if names and names[0].meaning.name == "last_name" else names

    def __str__(self) -> str:
        return f"{self.name}({', '.join(each.name for each in self.columns)})"


@dataclass(frozen=True, slots=True)
class Schema:
    """``tables`` maps the name of an entity to its table."""

    world: World
    tables: dict[str, Table]
    style: str

    def references(self) -> list[tuple[Table, Column, Table]]:
        """(from, by, to) of every reference between two of the tables, themselves too."""
        return [
            (table, column, self.tables[column.field.refers])
            for table in self.tables.values()
            for column in table.of("reference")
            if column.field.refers in self.tables
        ]


def draw_schema(words: Vocabulary) -> Schema:
    """Draw a world of the vocabulary's group with its tables; all that is drawn comes from ``words.schema``."""
    rng = words.schema
    world = rng.choice(worlds_of(words.group))
    style = rng.choices(list(_STYLES), weights=list(_STYLES.values()))[0]
    has_long_key = rng.random() < 0.18
    tables = {name: _table(entity, style, has_long_key, rng) for name, entity in world.entities.items()}
    return Schema(world, tables, style)


def _table(entity: Entity, style: str, has_long_key: bool, rng: random.Random) -> Table:
    fields = list(entity.fields)
    most = rng.choice((3, 4, 4, 5, 5, 6, 7))
    droppable = [each for each in fields if not each.refers and not each.meaning.names]
    rng.shuffle(droppable)
    for each in droppable[: max(0, len(fields) - most)]:
        fields.remove(each)
    if rng.random() < 0.2:
        rng.shuffle(fields)
    singular_table = style == "one" and entity.one.replace(" ", "_") not in _KEYWORDS
    name = entity.one.replace(" ", "_") if singular_table else entity.name
    key = f"{entity.one.replace(' ', '_')}_id" if has_long_key else "id"
    names = [key, *(f"{each.name}_id" if each.refers else each.name for each in fields)]
    if len(set(names)) < len(names):
        names[0] = "id"
    written = [identifier(each, style) for each in names]
    columns = [Column(written[0], Field(key, _KEY)), *map(Column, written[1:], fields)]
    return Table(entity, identifier(name, style), tuple(columns))


def identifier(name: str, style: str) -> str:
    """``order_item`` in snake, camel, pascal or upper case."""
    parts = name.split("_")
    if style == "camel":
        return parts[0] + "".join(each.capitalize() for each in parts[1:])
    if style == "pascal":
        return "".join(each.capitalize() for each in parts)
    return name.upper() if style == "upper" else name


def localized(schema: Schema, language: str) -> Schema:
    """The schema with those identifiers translated that are known in a language."""

    def name_in(word: str, name: str) -> str:
        text = translated(word, language)
        plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
        return name if plain in {"", *_KEYWORDS} else identifier(re.sub(r"\W+", "_", plain), schema.style)

    tables = {}
    for key, table in schema.tables.items():
        names = [
            each.name if each.kind == "reference" else name_in(each.field.spoken, each.name) for each in table.columns
        ]
        if len(set(names)) < len(names):
            names = [each.name for each in table.columns]
        columns = tuple(Column(name, each.field) for name, each in zip(names, table.columns, strict=True))
        tables[key] = Table(table.entity, name_in(table.entity.many, table.name), columns)
    if len({each.name for each in tables.values()}) < len(tables):
        return schema
    return Schema(schema.world, tables, schema.style)


def written(tables: list[Table], form: str, rng: random.Random) -> str:
    """The tables in one form: plain, typed, ddl, prose or lines."""
    if form == "plain":
        space = rng.choice(("", "", "", " "))
        joiner = rng.choice((", ", ", ", "; "))
        return joiner.join(f"{each.name}{space}({_listed(each)})" for each in tables)
    if form == "lines":
        before, between, behind = rng.choice(_LINES)
        return "\n".join(f"{before}{each.name}{between}{_listed(each)}{behind}" for each in tables)
    types = rng.choice(list(_TYPES))
    if form == "typed":
        joiner, upper = rng.choice((", ", "; ", "\n")), rng.random() < 0.4
        return joiner.join(f"{each.name}({_typed(each, types, upper, ddl=False)})" for each in tables)
    if form == "ddl":
        inner = rng.random() < 0.4
        return "\n".join(
            f"CREATE TABLE {each.name} (\n  {_typed(each, types, True, ddl=True, joiner=',' + chr(10) + '  ')}\n);"
            if inner
            else f"CREATE TABLE {each.name} ({_typed(each, types, True, ddl=True)});"
            for each in tables
        )
    verbs = ("with columns", "with the columns", "with", "that has")
    described = [
        f"{rng.choice(('table ', 'the table ', 'a table '))}{each.name} {rng.choice(verbs)} {_listed(each)}"
        for each in tables
    ]
    return " and ".join(described)


_LINES = (
    ("", "(", ")"),
    ("", ": ", ""),
    ("- ", ": ", ""),
    ("Table ", ": ", ""),
    ("* ", " (", ")"),
    ("table ", " - ", ""),
)


def _listed(table: Table) -> str:
    return ", ".join(each.name for each in table.columns)


_TYPES = {
    "sqlite": {
        "key": "INTEGER",
        "reference": "INTEGER",
        "number": "INTEGER",
        "flag": "INTEGER",
        "text": "TEXT",
        "date": "TEXT",
    },
    "plain": {"key": "INT", "reference": "INT", "number": "INT", "flag": "INT", "text": "TEXT", "date": "DATE"},
    "sized": {
        "key": "INT",
        "reference": "INT",
        "number": "DECIMAL(10,2)",
        "flag": "TINYINT",
        "text": "VARCHAR(100)",
        "date": "DATE",
    },
    "postgres": {
        "key": "SERIAL",
        "reference": "INTEGER",
        "number": "NUMERIC",
        "flag": "SMALLINT",
        "text": "VARCHAR(255)",
        "date": "TIMESTAMP",
    },
}


def _typed(table: Table, types: str, upper: bool, *, ddl: bool, joiner: str = ", ") -> str:
    texts = []
    for each in table.columns:
        type_ = _TYPES[types][each.kind]
        if ddl and each.kind == "key":
            type_ += " PRIMARY KEY"
        texts.append(f"{each.name} {type_ if upper else type_.lower()}")
    return joiner.join(texts)
