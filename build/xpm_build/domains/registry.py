"""The domains, ours and those that other packages register, and how cases are drawn from them."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from xpm_build.domains.case import Case, Draft, difficulty_of
from xpm_build.domains.cypher import make_cypher
from xpm_build.domains.everyday.code_requests import PHRASES as CODE_PHRASES
from xpm_build.domains.everyday.code_requests import make_everyday_python, make_everyday_rust, make_everyday_typescript
from xpm_build.domains.everyday.cypher import make_everyday_cypher
from xpm_build.domains.everyday.json_requests import PHRASES as JSON_PHRASES
from xpm_build.domains.everyday.json_requests import make_everyday_json
from xpm_build.domains.everyday.sql import PHRASES as DATA_PHRASES
from xpm_build.domains.everyday.sql import make_everyday_sql
from xpm_build.domains.everyday.talk import PHRASES as TALK_PHRASES
from xpm_build.domains.everyday.talk import make_everyday_talk
from xpm_build.domains.functions import make_python, make_rust, make_typescript
from xpm_build.domains.json_values import make_json
from xpm_build.domains.speech import Speaker
from xpm_build.domains.sql import make_sql
from xpm_build.domains.words import GROUPS, NUM_GROUPS, Oddity, Vocabulary
from xpm_build.errors import DatasetError

ENTRY_POINTS = "xpm.domains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """
    phrases: the file of frames that its requests are worded with: a name in ``phrases/``, or the
    path of another TOML file.
    written_in: the language whose judge knows its answers; by default the one that is called as the domain is.
    load_order: of an expert for it, among those that act together.
    """

    name: str
    phrases: str | Path
    make: Callable[[Vocabulary, Speaker], Draft]
    written_in: str = ""
    load_order: int = 5

    @property
    def language(self) -> str:
        return self.written_in or self.name


OWN = {
    domain.name: domain
    for domain in (
        Domain(name="json", phrases="json", make=make_json, load_order=1),
        Domain(name="sql", phrases="sql", make=make_sql, load_order=6),
        Domain(name="neo4j", phrases="neo4j", make=make_cypher, load_order=6),
        Domain(name="python", phrases="functions", make=make_python, load_order=4),
        Domain(name="typescript", phrases="functions", make=make_typescript, load_order=4),
        Domain(name="rust", phrases="functions", make=make_rust, load_order=4),
    )
}

EVERYDAY = {
    domain.name: domain
    for domain in (
        Domain(name="everyday-json", phrases=JSON_PHRASES, make=make_everyday_json, written_in="json", load_order=1),
        Domain(name="everyday-sql", phrases=DATA_PHRASES, make=make_everyday_sql, written_in="sql", load_order=6),
        Domain(
            name="everyday-neo4j", phrases=DATA_PHRASES, make=make_everyday_cypher, written_in="neo4j", load_order=6
        ),
        Domain(
            name="everyday-python", phrases=CODE_PHRASES, make=make_everyday_python, written_in="python", load_order=4
        ),
        Domain(
            name="everyday-typescript",
            phrases=CODE_PHRASES,
            make=make_everyday_typescript,
            written_in="typescript",
            load_order=4,
        ),
        Domain(name="everyday-rust", phrases=CODE_PHRASES, make=make_everyday_rust, written_in="rust", load_order=4),
        Domain(name="everyday-talk", phrases=TALK_PHRASES, make=make_everyday_talk, written_in="text"),
    )
}
"""Requests as people write them, with real words; no expert that the wheel carries is of them."""
BUILT_IN = {**OWN, **EVERYDAY}


class _Domains(Mapping[str, Domain]):
    """Name -> domain: ours, whose names nobody else's domain takes, then others'; another package is
    imported when it is asked."""

    def __getitem__(self, name: str) -> Domain:
        return BUILT_IN[name] if name in BUILT_IN else _load(_registered()[name])

    def __contains__(self, name: object) -> bool:
        return name in BUILT_IN or name in _registered()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*BUILT_IN, *_registered())))

    def __len__(self) -> int:
        return len(list(iter(self)))


DOMAINS = _Domains()


@cache
def _registered() -> Mapping[str, Sequence[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, []).append(point)
    return found


def _load(points: Sequence[EntryPoint]) -> Domain:
    """The one domain that is registered.

    Raises:
        DatasetError: it cannot be loaded, is none, or there are several of its name; names whose it is.
    """
    name, owners = (
        points[0].name,
        ", ".join(f"{each.value} of {each.dist.name if each.dist else '?'}" for each in points),
    )
    problem = "" if len(points) == 1 else "several packages register it"
    if not problem:
        try:
            domain = points[0].load()
        except Exception as error:  # whatever another package raises while it is imported
            raise _unusable(name, owners, f"{type(error).__name__}: {error}") from error
        if isinstance(domain, Domain) and domain.name == name:
            return domain
        problem = f"it is no Domain called {name}"
    raise _unusable(name, owners, problem)


def _unusable(name: str, owners: str, problem: str) -> DatasetError:
    return DatasetError(
        f"domain {name!r} cannot be used: {problem}",
        context=f"{ENTRY_POINTS} has {owners}",
        hint="correct or uninstall the package that registers it",
    )


def draw_case(
    domain: Domain,
    rng: random.Random,
    *,
    schema: int | None = None,
    oddity: Oddity | None = None,
    strangers: Sequence[str] = (),
) -> Case:
    """Draw one case.

    Args:
        schema: the number of the tables, keys or names that are asked about; its remainder by ``NUM_GROUPS`` is their
            group. A fresh one if None.
        oddity: how odd invented identifiers are.
        strangers: words that now and then come into its sentence frames, as of ``Speaker``.
    """
    number = rng.randrange(2**32) if schema is None else schema
    speaker = Speaker.draw(domain.phrases, rng, strangers=strangers)
    while True:
        words = Vocabulary(
            number % NUM_GROUPS,
            rng,
            schema=random.Random(f"{Path(domain.phrases).stem}/{number}"),
            oddity=oddity or Oddity(),
        )
        prompt, completion, family, check, in_words = domain.make(words, speaker)
        if not speaker.is_mixed:
            break
        speaker = Speaker(domain.phrases, rng, strangers=strangers)
    return Case(
        prompt=prompt,
        completion=completion,
        family=family,
        group=GROUPS[number % NUM_GROUPS],
        frames=tuple(speaker.frames),
        language=speaker.language,
        difficulty=difficulty_of(completion),
        check=check,
        in_words=in_words,
    )


def draw_cases(domain: Domain, seed: int, *, num_schemas: int) -> Iterator[Case]:
    """Endless cases about ``num_schemas`` schemas, no prompt twice; the same ones for the same arguments."""
    rng = random.Random(f"{domain.name}/{seed}")
    seen: set[str] = set()
    while True:
        case = draw_case(domain, rng, schema=rng.randrange(num_schemas))
        if case.prompt not in seen:
            seen.add(case.prompt)
            yield case
