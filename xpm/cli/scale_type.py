"""How strongly an expert acts, on the command line: expert-sql=0.8."""

import click


class ScaleType(click.ParamType["tuple[str, float]"]):
    """(expert, scale)."""

    name = "scale"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        expert, _, number = str(value).rpartition("=")
        try:
            scale = float(number)
        except ValueError:
            scale = float("nan")
        if not expert or scale != scale:
            self.fail(f"{str(value)[:80]!r} is no EXPERT=SCALE, e.g. expert-sql=0.8", param, ctx)
        return expert, scale


SCALE = ScaleType()
