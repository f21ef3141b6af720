"""Looking after a data set: finding what is malformed, what is there twice, and what it consists of."""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from xpm_build.errors import DatasetError
from xpm_build.judges.judging import has_check, problem_of
from xpm_build.judges.language import Language
from xpm_build.judges.languages import LANGUAGES
from xpm_build.rows import Row, completion_of, context_of, num_characters, problems_of, prompt_of

_NUM_PERMUTATIONS = 256
_SHINGLE = 5
_FINEST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    row: int
    reason: str


def validate_rows(rows: Iterable[Row], language: str = "") -> list[Problem]:
    """What is wrong, row by row: the form, and the completion's syntax where the language is known.

    Args:
        language: one of ``LANGUAGES``; "text" and "" check the form alone.
    Raises:
        DatasetError: the language is another one.
    """
    if language and language not in LANGUAGES:
        raise DatasetError(
            f"completions in {language!r} cannot be checked",
            hint=f"--language is one of {', '.join(LANGUAGES)}; text checks the rows' form alone",
        )
    problems = []
    for number, row in enumerate(rows, start=1):
        reasons = problems_of(row) or (_completion_problems(row, LANGUAGES[language]) if language else [])
        problems += [Problem(row=number, reason=reason) for reason in reasons]
    return problems


def _completion_problems(row: Row, language: Language) -> list[str]:
    """The first thing that is wrong with a row's completion or its check, in a list."""
    completion, check = completion_of(row), row["check"] if has_check(row) else {}
    if reason := language.syntax_error(completion) or language.misfit(completion, check):
        return [f"the completion is not {language.name}: {reason}"]
    reason = problem_of(language.name, check) if has_check(row) else ""
    return [reason] if reason else []


def cleaned(rows: Sequence[Row], *, near: float = 0.0, max_characters: int = 0) -> tuple[list[Row], dict[str, int]]:
    """The rows worth keeping, and how many were dropped for which reason.

    Args:
        near: how alike counts as the same; 0 for equal rows alone.
        max_characters: how long the texts of a row may be; 0 for any.
    """
    exact = exact_duplicates(rows)
    unequal = [row for number, row in enumerate(rows) if number not in exact]
    close = near_duplicates(unequal, near) if near else set()
    different = [row for number, row in enumerate(unequal) if number not in close]
    kept = [row for row in different if not max_characters or num_characters(row) <= max_characters]
    return kept, {"equal": len(exact), "nearly equal": len(close), "too long": len(different) - len(kept)}


def exact_duplicates(rows: Sequence[Row]) -> set[int]:
    """Indices of rows whose prompt, all turns of it, and answer occurred before, but for case and spaces."""
    seen: set[tuple[str, str]] = set()
    found = set()
    for number, row in enumerate(rows):
        key = (_normal(context_of(row)), " ".join(completion_of(row).split()))
        if key in seen:
            found.add(number)
        seen.add(key)
    return found


def near_duplicates(rows: Sequence[Row], threshold: float) -> set[int]:
    """Indices of rows whose prompt is at least ``threshold`` like an earlier one's: Jaccard of
    5-letter shingles, by MinHash."""
    from datasketch import MinHash, MinHashLSH

    # The index finds candidates, which are then compared exactly; it has no bands for thresholds near 1.
    index = MinHashLSH(threshold=min(threshold, _FINEST), num_perm=_NUM_PERMUTATIONS)
    shingles: dict[int, set[str]] = {}
    found = set()
    for number, row in enumerate(rows):
        text = _normal(context_of(row) or completion_of(row))
        shingles[number] = {text[start : start + _SHINGLE] for start in range(max(1, len(text) - _SHINGLE + 1))}
        sketch = MinHash(num_perm=_NUM_PERMUTATIONS)
        sketch.update_batch([each.encode() for each in shingles[number]])
        if any(_jaccard(shingles[number], shingles[int(other)]) >= threshold for other in index.query(sketch)):
            found.add(number)
        else:
            index.insert(str(number), sketch)
    return found


def _jaccard(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(1, len(first | second))


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def statistics_of(rows: Sequence[Row], count_tokens: Callable[[str], int] | None = None) -> dict[str, Any]:
    """Sizes, categories and diversity of a data set.

    Args:
        count_tokens: a base's tokenizer; lengths are in characters without.
    Returns:
        rows, unit, prompt and completion (min, median, p95, max), counts per category, distinct_2 (different word pairs
        per word pair of the prompts), groups, duplicates.
    """
    if not rows:
        raise DatasetError("the data set is empty", hint="make rows with `xpm dataset generate` or `import`")
    measure = count_tokens or len
    prompts = [measure(prompt_of(row)) for row in rows]
    completions = [measure(completion_of(row)) for row in rows]
    pairs = [pair for row in rows for pair in _word_pairs(prompt_of(row))]
    return {
        "rows": len(rows),
        "unit": "tokens" if count_tokens else "characters",
        "prompt": _spread(prompts),
        "completion": _spread(completions),
        "categories": {
            name: dict(sorted(Counter(str(row[name]) for row in rows if name in row).items()))
            for name in ("family", "difficulty", "language", "group")
            if any(name in row for row in rows)
        },
        "distinct_2": round(len(set(pairs)) / max(1, len(pairs)), 4),
        "duplicates": len(exact_duplicates(rows)),
        "lengths": {"prompt": prompts, "completion": completions},
    }


def _spread(values: list[int]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def _word_pairs(text: str) -> list[tuple[str, str]]:
    words = text.lower().split()
    return list(pairwise(words))


def draw_statistics(stats: dict[str, Any], path: Path) -> None:
    """A PNG of the lengths and the first category."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    lengths, bars = figure.subplots(1, 2)
    for name, values in stats["lengths"].items():
        lengths.hist(values, bins=40, alpha=0.6, label=name)
    lengths.set_xlabel(stats["unit"])
    lengths.set_ylabel("rows")
    lengths.legend()
    category = next(iter(stats["categories"].items()), None)
    if category:
        bars.barh(list(category[1]), list(category[1].values()))
        bars.set_title(category[0])
        bars.invert_yaxis()
    figure.savefig(path, dpi=110)


_CONDITION = re.compile(r"(\w+)\s*(!=|>=|<=|=|>|<|~)\s*(.*)")


def filter_of(conditions: Sequence[str]) -> Callable[[Row], bool]:
    """A test of rows from conditions such as ``difficulty=hard``, ``completion_length<400`` or ``prompt~order``.

    ``prompt_length`` and ``completion_length`` are in characters; ``~`` searches a regular expression.

    Raises:
        DatasetError: a condition is not one.
    """
    parsed = []
    for text in conditions:
        match = _CONDITION.fullmatch(text.strip())
        if not match:
            raise DatasetError(f"{text!r} is not a condition", hint="write FIELD=VALUE, FIELD<NUMBER or FIELD~PATTERN")
        if match[2] == "~":
            _check_pattern(match[3], text)
        parsed.append((match[1], match[2], match[3]))
    return lambda row: all(_holds(row, *each) for each in parsed)


def _check_pattern(pattern: str, condition: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"{condition!r}: the pattern is no regular expression", context=str(error)) from error


def _holds(row: Row, name: str, operator: str, wanted: str) -> bool:
    if name in ("prompt_length", "completion_length"):
        value: Any = len(prompt_of(row) if name == "prompt_length" else completion_of(row))
    else:
        value = row.get(name, "")
    if operator == "~":
        return re.search(wanted, str(value)) is not None
    if operator in ("=", "!="):
        values = [str(each) for each in value] if isinstance(value, list) else [str(value)]
        return (wanted in values) is (operator == "=")
    try:
        number, limit = float(value), float(wanted)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{name}{operator}{wanted} compares what is no number", context=f"a row has {value!r}"
        ) from error
    return {"<": number < limit, ">": number > limit, "<=": number <= limit, ">=": number >= limit}[operator]
