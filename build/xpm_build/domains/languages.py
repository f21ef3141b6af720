"""How Python, TypeScript and Rust write types, values and function headers, for the generators and for the judges.

Types have short names: ``int``, ``str``, ``bool``, ``[int]`` and ``[str]`` for lists, ``{int}`` for a map from text to numbers,
``int?`` and ``str?`` for what may be missing, and ``@Name`` and ``[@Name]`` for records.
"""

import json
from dataclasses import dataclass
from typing import Any

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    name: str
    fields: Fields

    def to_check(self) -> list[Any]:
        return [self.name, [list(each) for each in self.fields]]


class Python:
    name, spoken, none, record_kind = "python", "Python", "None", "dataclass"
    comment = "#"

    @staticmethod
    def type(type_: str) -> str:
        if type_.endswith("?"):
            return f"{type_[:-1]} | None"
        if type_.startswith("["):
            return f"list[{Python.type(type_[1:-1])}]"
        return "dict[str, int]" if type_ == "{int}" else type_.lstrip("@")

    @staticmethod
    def header(name: str, params: Fields, returns: str) -> str:
        listed = ", ".join(f"{each}: {Python.type(type_)}" for each, type_ in params)
        return f"def {name}({listed}) -> {Python.type(returns)}"

    @staticmethod
    def function(header: str, body: str) -> str:
        return f"{header}:\n" + "\n".join(f"    {line}" for line in body.split("\n"))

    @staticmethod
    def shown(record: Record) -> str:
        return f"{record.name}({', '.join(f'{name}: {type_}' for name, type_ in record.fields)})"

    @staticmethod
    def define(record: Record) -> str:
        return f"@dataclass\nclass {record.name}:\n" + "\n".join(
            f"    {name}: {type_}" for name, type_ in record.fields
        )

    @staticmethod
    def literal(value: Any, type_: str, records: dict[str, Record]) -> str:
        if type_.startswith("[@"):
            return f"[{', '.join(Python.literal(each, type_[1:-1], records) for each in value)}]"
        if type_.startswith("@"):
            return f"{type_[1:]}(*{list(value)!r})"
        return repr(value)


class TypeScript:
    name, spoken, none, record_kind = "typescript", "TypeScript", "undefined", "interface"
    comment = "//"
    _types = {"int": "number", "str": "string", "bool": "boolean", "{int}": "Record<string, number>"}

    @staticmethod
    def type(type_: str) -> str:
        if type_.endswith("?"):
            return f"{TypeScript.type(type_[:-1])} | undefined"
        if type_.startswith("["):
            return f"{TypeScript.type(type_[1:-1])}[]"
        return TypeScript._types.get(type_, type_.lstrip("@"))

    @staticmethod
    def header(name: str, params: Fields, returns: str) -> str:
        listed = ", ".join(f"{each}: {TypeScript.type(type_)}" for each, type_ in params)
        return f"function {name}({listed}): {TypeScript.type(returns)}"

    @staticmethod
    def function(header: str, body: str) -> str:
        return f"{header} {{\n" + "\n".join(f"  {line}" for line in body.split("\n")) + "\n}"

    @staticmethod
    def shown(record: Record) -> str:
        return f"{record.name} {{ {'; '.join(f'{name}: {TypeScript.type(type_)}' for name, type_ in record.fields)} }}"

    @staticmethod
    def define(record: Record) -> str:
        lines = "\n".join(f"  {name}: {TypeScript.type(type_)};" for name, type_ in record.fields)
        return f"interface {record.name} {{\n{lines}\n}}"

    @staticmethod
    def literal(value: Any, type_: str, records: dict[str, Record]) -> str:
        if type_.startswith("[@"):
            return f"[{', '.join(TypeScript.literal(each, type_[1:-1], records) for each in value)}]"
        if type_.startswith("@"):
            pairs = zip(records[type_[1:]].fields, value, strict=True)
            return f"{{ {', '.join(f'{name}: {json.dumps(each)}' for (name, _), each in pairs)} }}"
        return "undefined" if value is None else json.dumps(value)


class Rust:
    name, spoken, none, record_kind = "rust", "Rust", "None", "struct"
    comment = "//"
    _types = {"int": "i64", "str": "String", "bool": "bool", "{int}": "HashMap<String, i64>"}

    @staticmethod
    def type(type_: str) -> str:
        if type_.endswith("?"):
            return f"Option<{Rust.type(type_[:-1])}>"
        if type_.startswith("["):
            return f"Vec<{Rust.type(type_[1:-1])}>"
        return Rust._types.get(type_, type_.lstrip("@"))

    @staticmethod
    def header(name: str, params: Fields, returns: str) -> str:
        listed = ", ".join(f"{each}: {Rust.type(type_)}" for each, type_ in params)
        return f"fn {name}({listed}) -> {Rust.type(returns)}"

    @staticmethod
    def function(header: str, body: str) -> str:
        return f"{header} {{\n" + "\n".join(f"    {line}" for line in body.split("\n")) + "\n}"

    @staticmethod
    def shown(record: Record) -> str:
        return f"{record.name} {{ {', '.join(f'{name}: {Rust.type(type_)}' for name, type_ in record.fields)} }}"

    @staticmethod
    def define(record: Record) -> str:
        lines = "\n".join(f"    {name}: {Rust.type(type_)}," for name, type_ in record.fields)
        return f"struct {record.name} {{\n{lines}\n}}"

    @staticmethod
    def literal(value: Any, type_: str, records: dict[str, Record]) -> str:
        if type_.endswith("?"):
            return "None" if value is None else f"Some({Rust.literal(value, type_[:-1], records)})"
        if type_.startswith("["):
            items = ", ".join(Rust.literal(each, type_[1:-1], records) for each in value)
            return f"Vec::<{Rust.type(type_[1:-1])}>::from([{items}])"
        if type_.startswith("@"):
            pairs = zip(records[type_[1:]].fields, value, strict=True)
            return f"{type_[1:]} {{ {', '.join(f'{name}: {Rust.literal(each, kind, records)}' for (name, kind), each in pairs)} }}"
        if type_ == "{int}":
            items = ", ".join(f"({json.dumps(key)}.to_string(), {each})" for key, each in value.items())
            return f"HashMap::<String, i64>::from([{items}])"
        return f"{json.dumps(value)}.to_string()" if type_ == "str" else json.dumps(value)


Language = type[Python] | type[TypeScript] | type[Rust]
LANGUAGES: dict[str, Language] = {"python": Python, "typescript": TypeScript, "rust": Rust}
