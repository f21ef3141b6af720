"""The JSON Schema that a value has: with types, properties and what is required, as both domains of JSON write it."""

from typing import Any

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(value: Any) -> dict[str, Any]:
    """The schema of a value read from JSON; of an array that of its first item."""
    if isinstance(value, dict):
        properties = {key: schema_of(each) for key, each in value.items()}
        return {"type": "object", "properties": properties, "required": list(value)}
    if isinstance(value, list):
        return {"type": "array", "items": schema_of(value[0])}
    return {"type": _TYPES[type(value)]}
