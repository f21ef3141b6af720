"""The examples of a model card, all of them (``xpm.operations.replay.examples_of`` gives the first)."""

import re

_EXAMPLE = re.compile(r"```prompt\n(.*?)\n```\n+```\w+\n(.*?)\n```", re.DOTALL)


def all_examples(card: str) -> list[tuple[str, str]]:
    """(prompt, answer) of each."""
    return _EXAMPLE.findall(card)
