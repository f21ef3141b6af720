"""Sizes on the command line: 800MB, 1.5G, 2GiB."""

import re

import click

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


class SizeType(click.ParamType["int"]):
    """Bytes, with or without a unit."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?i?)b?", str(value).strip().lower())
        if match is None or match[2] not in _UNITS:
            self.fail(f"{value!r} is not a size such as 800MB or 1.5GiB", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


SIZE = SizeType()
