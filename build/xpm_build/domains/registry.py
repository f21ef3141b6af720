"""The six domains and how cases are drawn from them."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from xpm_build.domains.case import Case, Draft, difficulty_of
from xpm_build.domains.cypher import make_cypher
from xpm_build.domains.functions import make_python, make_rust, make_typescript
from xpm_build.domains.json_values import make_json
from xpm_build.domains.speech import Speaker
from xpm_build.domains.sql import make_sql
from xpm_build.domains.words import GROUPS, NUM_GROUPS, Oddity, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """``phrases`` is the file of frames its requests are worded with."""

    name: str
    phrases: str
    make: Callable[[Vocabulary, Speaker], Draft]


DOMAINS = {
    domain.name: domain
    for domain in (
        Domain(name="json", phrases="json", make=make_json),
        Domain(name="sql", phrases="sql", make=make_sql),
        Domain(name="neo4j", phrases="neo4j", make=make_cypher),
        Domain(name="python", phrases="functions", make=make_python),
        Domain(name="typescript", phrases="functions", make=make_typescript),
        Domain(name="rust", phrases="functions", make=make_rust),
    )
}


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
        schema: the number of the tables, keys or names that are asked about; its remainder by ``NUM_GROUPS`` is their group.
            A fresh one if None.
        oddity: how odd invented identifiers are.
        strangers: words that now and then come into its sentence frames, as of ``Speaker``.
    """
    number = rng.randrange(2**32) if schema is None else schema
    speaker = Speaker.draw(domain.phrases, rng, strangers=strangers)
    while True:
        words = Vocabulary(
            number % NUM_GROUPS, rng, schema=random.Random(f"{domain.phrases}/{number}"), oddity=oddity or Oddity()
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
