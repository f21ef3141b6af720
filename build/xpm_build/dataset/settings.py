"""What a manifest says of its data: ``training.dataset``, typed, with key paths in every error.

Every key is read or refused with a reason; keys that begin with ``_`` are comments.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from xpm_build.dataset.hold_out import HoldOut
from xpm_build.domains import DOMAINS
from xpm_build.errors import DatasetError
from xpm_build.rows import MAPPED_KEYS
from xpm_index.fields import Fields

DATASET = Path("data/dataset.jsonl")
ROWS = "rows"
"""The innermost circle: unseen rows with nothing held out."""
MEANINGLESS: Mapping[str, frozenset[str]] = {
    "template": frozenset(("model", "url", "temperature", "requests_per_minute", "prices")),
    "openai": frozenset(("schemas",)),
    "anthropic": frozenset(("schemas", "seed")),
}
"""What of ``generation`` each provider has no use for."""
_WARMEST: Mapping[str, float] = {"openai": 2.0, "anthropic": 1.0}
"""The highest temperature that each protocol takes."""
HELD = "rows are held in memory, and batches are made where they are used"
PASSED_OVER: Mapping[str, str] = {
    "streaming": "rows are read whole from data/; import what is larger in parts",
    "num_proc": HELD,
    "cache_dir": HELD,
}
"""Key -> why it is passed over with a warning: it decides only how fast a run is."""
_KEYS = {
    "path",
    "type",
    "format",
    "source",
    "sources",
    "field_mapping",
    "tasks",
    "validation",
    "preprocessing",
    "generation",
    "split",
    "language",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """``task`` describes, for a language model, what is to be made; the ``template`` provider needs ``domain`` alone.

    ``prices`` are dollars for a million tokens, in and out. ``seed`` is sent to a language model
    only if the manifest has one.
    """

    domain: str
    task: str
    count: int
    provider: str
    model: str
    url: str
    temperature: float | None
    seed: int | None
    schemas: int
    diversity_threshold: float
    difficulty: Mapping[str, float]
    requests_per_minute: int
    prices: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """``valid`` and ``test`` are shares of the rows of which nothing is held out."""

    valid: float
    test: float
    hold_out: HoldOut


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """One task of several: its files and how often its rows are seen relative to the others'."""

    name: str
    train: Path
    valid: Path | None
    test: Path | None
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSettings:
    path: Path
    sources: tuple[str, ...]
    form: str
    field_mapping: Mapping[str, str]
    language: str
    generation: Generation
    split: Split
    near_duplicates: float
    max_characters: int
    tasks: tuple[TaskData, ...]


def dataset_settings(raw: Mapping[str, Any]) -> DatasetSettings:
    """Read ``training.dataset`` of a manifest document.

    Raises:
        DatasetError: a key is unknown, refused or has a value that makes no sense; names the key path.
    """
    document = Fields(dict(raw), error=DatasetError)
    training, evaluation = document.object("training"), document.object("evaluation")
    fields = training.object("dataset")
    _known(fields, _KEYS | PASSED_OVER.keys())
    source = fields.raw.get("source")
    sources = _sources(fields) + ((str(source),) if isinstance(source, str) else ())
    generation = _generation(fields.object("generation"))
    validation, preprocessing = fields.object("validation"), fields.object("preprocessing")
    mapping = fields.object("field_mapping")
    _known(validation, {"language"})
    _known(mapping, set(MAPPED_KEYS))
    _not_misspelt(preprocessing, ("near_duplicates", "max_characters"))
    return DatasetSettings(
        path=Path(_inside(fields, "path", required=False) or DATASET),
        sources=sources,
        form=_one_of(fields, "format", ("", "jsonl", "csv", "parquet", "huggingface")),
        field_mapping={key: mapping.text(key) for key in mapping.raw if not key.startswith("_")},
        language=evaluation.text("language", required=False)
        or fields.text("language", required=False)
        or validation.text("language", required=False)
        or (DOMAINS[generation.domain].language if generation.domain in DOMAINS else ""),
        generation=generation,
        split=_split(fields.object("split")),
        near_duplicates=_share(preprocessing, "near_duplicates", 0.0),
        max_characters=preprocessing.integer("max_characters", default=0),
        tasks=_tasks(fields),
    )


def _known(fields: Fields, keys: set[str]) -> None:
    for key in fields.raw:
        if key not in keys and not key.startswith("_"):
            raise DatasetError(f"{fields.at(key)} is unknown", hint=f"known are {', '.join(sorted(keys))}")


def _not_misspelt(fields: Fields, keys: tuple[str, ...]) -> None:
    """Other keys are notes on how the data was made; one that is spelled like a key that is read is a mistake."""
    for key in fields.raw:
        if key not in keys and (alike := difflib.get_close_matches(key, keys, n=1, cutoff=0.8)):
            raise DatasetError(f"{fields.at(key)} is unknown", hint=f"did you mean {alike[0]}?")


def _sources(fields: Fields) -> tuple[str, ...]:
    """What to import: each a text, or an object whose ``name`` says it."""
    listed = fields.raw.get("sources")
    if isinstance(listed, list) and any(isinstance(each, dict) for each in listed):
        return tuple(each.text("name") for each in fields.objects("sources"))
    return fields.strings("sources")


def _temperature(fields: Fields, provider: str) -> float | None:
    """None where the provider's own holds: not every model lets it be chosen."""
    if fields.raw.get("temperature") is None:
        return None
    temperature = fields.number("temperature", default=0.0)
    if not 0 <= temperature <= _WARMEST[provider]:
        raise DatasetError(
            f"{fields.at('temperature')} must be from 0 to {_WARMEST[provider]:g} for the provider {provider!r}",
            context=f"it is {temperature:g}",
        )
    return temperature


def _seed(fields: Fields) -> int | None:
    return None if fields.raw.get("seed") is None else fields.integer("seed", default=0)


def _generation(fields: Fields) -> Generation:
    _known(
        fields,
        {
            "domain",
            "task",
            "count",
            "provider",
            "model",
            "url",
            "temperature",
            "seed",
            "schemas",
            "diversity_threshold",
            "difficulty_distribution",
            "requests_per_minute",
            "prices",
        },
    )
    difficulty = fields.object("difficulty_distribution").raw
    if any(not isinstance(each, (int, float)) or each < 0 for each in difficulty.values()):
        raise DatasetError(f"{fields.at('difficulty_distribution')} must map difficulties to shares of 0 or more")
    provider = _one_of(fields, "provider", ("", *MEANINGLESS)) or "template"
    for key in sorted(MEANINGLESS[provider]):
        if fields.raw.get(key) is not None:
            raise DatasetError(
                f"{fields.at(key)} means nothing to the provider {provider!r}",
                hint="take it out, or name another provider",
            )
    domain = fields.text("domain", required=False)
    if provider == "template" and domain and domain not in DOMAINS:
        raise DatasetError(
            f"{fields.at('domain')} {domain!r} has no templates", hint=f"templates are there for {', '.join(DOMAINS)}"
        )
    count = _at_least_one(fields, "count", 1000)
    return Generation(
        domain=domain,
        task=fields.text("task", required=False),
        count=count,
        provider=provider,
        model=fields.text("model", required=False),
        url=fields.text("url", required=False),
        temperature=_temperature(fields, provider),
        seed=_seed(fields),
        schemas=_at_least_one(fields, "schemas", max(10, count // 6)),
        diversity_threshold=_share(fields, "diversity_threshold", 0.0),
        difficulty={key: float(value) for key, value in difficulty.items()},
        requests_per_minute=_at_least_one(fields, "requests_per_minute", 60),
        prices=_prices(fields.object("prices")),
    )


def _prices(fields: Fields) -> tuple[float, float] | None:
    _known(fields, {"input", "output"})
    return (fields.number("input", default=0.0), fields.number("output", default=0.0)) if fields.raw else None


def _split(fields: Fields) -> Split:
    _known(fields, {"seed", "valid", "test", "hold_out"})
    hold_out = fields.object("hold_out")
    shares = {key: _share(hold_out, key, 0.0) for key in hold_out.raw if not key.startswith("_")}
    for key in shares:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", key) or key == ROWS:
            raise DatasetError(
                f"{hold_out.at(key)[:80]}: a circle cannot be called so",
                context="its cases are written to test-<name>.jsonl",
                hint=f"name a field of letters, digits, - and _, other than {ROWS!r}",
            )
    valid, test = _share(fields, "valid", 0.05), _share(fields, "test", 0.1)
    if valid + test >= 1:
        raise DatasetError(f"{fields.at('valid')} and {fields.at('test')} leave nothing to train on")
    return Split(valid=valid, test=test, hold_out=HoldOut(seed=fields.integer("seed", default=1), shares=shares))


def _tasks(fields: Fields) -> tuple[TaskData, ...]:
    kind = _one_of(fields, "type", ("", "single", "multi_task"))
    raw = fields.raw.get("tasks")
    if not raw:
        if kind == "multi_task":
            raise DatasetError(f"{fields.at('tasks')} is missing", context="type is multi_task")
        return ()
    listed = (
        [(key, fields.object("tasks").object(key)) for key in raw if not key.startswith("_")]
        if isinstance(raw, dict)
        else [(str(number), each) for number, each in enumerate(fields.objects("tasks"))]
    )
    return tuple(_task(name, each) for name, each in listed)


def _task(name: str, fields: Fields) -> TaskData:
    _known(fields, {"train", "valid", "test", "weight", "format"})
    _one_of(fields, "format", ("", "jsonl"))
    return TaskData(
        name=name,
        train=Path(_inside(fields, "train")),
        valid=Path(text) if (text := _inside(fields, "valid", required=False)) else None,
        test=Path(text) if (text := _inside(fields, "test", required=False)) else None,
        weight=fields.number("weight", default=1.0),
    )


def _inside(fields: Fields, key: str, *, required: bool = True) -> str:
    """A path below the manifest's folder: a manifest may be a stranger's, and must not choose what is
    read or written elsewhere."""
    text = fields.text(key, required=required)
    path = PureWindowsPath(text)  # knows both separators and drives
    if path.anchor or ".." in path.parts:
        raise DatasetError(f"{fields.at(key)} leaves the expert's folder", context=text, hint="name a path below it")
    return text


def _one_of(fields: Fields, key: str, values: tuple[str, ...]) -> str:
    value = fields.text(key, required=False)
    if value not in values:
        raise DatasetError(
            f"{fields.at(key)} {value[:40]!r} is unknown",
            hint=f"it is one of {', '.join(each for each in values if each)}",
        )
    return value


def _at_least_one(fields: Fields, key: str, default: int) -> int:
    value = fields.integer(key, default=default)
    if value < 1:
        raise DatasetError(f"{fields.at(key)} must be 1 or more", context=f"got {value}")
    return value


def _share(fields: Fields, key: str, default: float) -> float:
    value = fields.number(key, default=default)
    if not 0 <= value <= 1:
        raise DatasetError(f"{fields.at(key)} must be between 0 and 1", context=f"got {value}")
    return value
