"""Whether an answer, run as it is, would change or destroy what somebody has."""

import re

_TEXTS = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"")
_SQL = re.compile(r"\s*(delete\s+from|update|drop|truncate|alter|replace\s+into)\b", re.IGNORECASE)
_CYPHER = re.compile(r"\s*(?:optional\s+)?match\b.*?\b(detach\s+delete|delete|remove|set)\b", re.IGNORECASE | re.DOTALL)
_CONDITION = re.compile(r"\bwhere\b|\{", re.IGNORECASE)
_DOES = {"delete": "deletes", "detach": "deletes", "drop": "drops", "truncate": "empties"}


def what_is_lost(answer: str) -> str:
    """What to warn of in a statement of SQL or Cypher; "" if it only reads or adds, or is none."""
    bare = _TEXTS.sub("''", answer)
    found = _SQL.match(bare) or _CYPHER.match(bare)
    if found is None:
        return ""
    word = found[1].split()[0].lower()
    does = _DOES.get(word, "changes")
    if word in ("drop", "truncate", "alter"):
        return f"run as it is, this {does} a whole table"
    return f"run as it is, this {does} data" + (
        "" if _CONDITION.search(bare) else ", all of it: it states no condition"
    )
