"""Routing prompts over what is installed: cards from packages, the router over them, and how well it
does on labelled prompts."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.config import Config
from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.cards import cards_of
from xpm.operations.install import require_stored
from xpm.operations.installed import packages_of
from xpm.operations.language import language_detector
from xpm.operations.options import Options
from xpm.operations.parts import Part, part_of
from xpm.progress import Progress
from xpm.project import DEFAULT_BASE
from xpm.search import Query
from xpm_index.errors import XpmError

if TYPE_CHECKING:
    from xpm_runtime.router.card import RoutingCard
    from xpm_runtime.router.decision import Decision
    from xpm_runtime.router.evaluation import Evaluation
    from xpm_runtime.router.route import Encoder, Router
    from xpm_runtime.router.topics import Topics

_NO_EXPERT = (
    f"no installed expert fits this prompt, and {DEFAULT_BASE} alone can't answer it; get a real base, e.g."
    " `xpm base add Qwen/Qwen3-0.6B`"
)
_MAX_SEARCHED = 8
_LEAST_LETTERS = 3


def router_of(environment: Environment, experts: Sequence[Part], *, progress: Progress) -> "Router":
    """The router over installed experts; a hint that is no expression is passed over with a warning.

    Raises:
        ModelLoadError: an expert's head, or the embedder, cannot be read.
    """
    from xpm_runtime.router.route import Router

    cards = [_with_sound_hint(card, progress) for card in cards_of(experts)]
    needs_language = any("language" in card.hint for card in cards)
    encoders, topics = _encoders(environment)
    return Router(cards, encoders=encoders, topics=topics, language_of=language_detector() if needs_language else None)


def _with_sound_hint(card: "RoutingCard", progress: Progress) -> "RoutingCard":
    from xpm_runtime import RequestError
    from xpm_runtime.router.hint import parse_hint

    try:
        parse_hint(card.hint)
    except RequestError as error:
        progress.warn(f"{card.name}: {error.message}; it is passed over")
        return replace(card, hint="")
    return card


def evaluate_file(environment: Environment, path: Path, *, progress: Progress) -> "Evaluation":
    """How well labelled prompts are routed here: JSON lines with ``prompt`` and ``experts`` (names; none for the base),
    or with ``turns``, an array of such objects: what somebody said in a conversation, routed as in one.

    Raises:
        UsageError: a line is not such an object, names an expert that is not installed, or there is none.
    """
    from xpm_runtime.router.evaluation import Routed, evaluate
    from xpm_runtime.router.turns import answered_before, goes_on

    router = _installed_router(environment, progress)
    routed: list[Routed] = []
    for turns in _labelled(path, {card.name for card in router.cards}):
        for number, (prompt, wanted) in enumerate(turns):
            decision = router.route(prompt)
            earlier = [text for text, _ in turns[:number]] if goes_on(decision) else []
            routed.append(
                Routed(
                    prompt=prompt,
                    wanted=wanted,
                    chosen=frozenset(decision.experts or answered_before(earlier, router.route)),
                    confidence=decision.confidence,
                    ms=decision.ms["all"],
                )
            )
    return evaluate(routed)


def note_of_nobody(
    environment: Environment, prompt: str, decision: "Decision", *, base: str, progress: Progress
) -> None:
    """Say that the base answers alone, if it is one that knows nothing, and what the indexes have for such a prompt."""
    if base != DEFAULT_BASE:
        return
    hits = [] if "asks:nothing" in decision.signs else _published_for(environment, prompt)
    if hits:
        progress.warn(f"no installed expert fits this prompt; `xpm search` has {', '.join(hits)}")
    else:
        progress.warn(_NO_EXPERT)


def _installed_router(environment: Environment, progress: Progress) -> "Router":
    packages = packages_of(environment, require_stored(environment, Options(progress=progress)))
    return router_of(
        environment, [part_of(each) for each in packages if each.package.kind == "expert"], progress=progress
    )


def _published_for(environment: Environment, prompt: str) -> list[str]:
    """Names of at most three experts, not installed, that the indexes here have for the telling words of a prompt."""
    from xpm.operations.inspect import search
    from xpm_runtime.router.lexical import telling_words

    lock = environment.lockfile()
    found = {each.name: 0 for each in lock.packages} if lock else {}
    installed = set(found)
    hits: dict[str, int] = {}
    for word in [each for each in telling_words(prompt) if len(each) >= _LEAST_LETTERS][:_MAX_SEARCHED]:
        with contextlib.suppress(XpmError):
            for each in search(environment, Query(words=(word,), kind="expert", limit=5), Options(offline=True)):
                if each.entry is not None and each.name not in installed:
                    hits[each.name] = hits.get(each.name, 0) + 1
    return sorted(hits, key=lambda name: (-hits[name], name))[:3]


def _encoders(environment: Environment) -> "tuple[list[Encoder], Topics]":
    """The vectors that come with xpm, and the embedder that the user set; the topics of that, or
    those that come with xpm."""
    from xpm_runtime.router.topics import read_topics, shipped_topics
    from xpm_runtime.router.vectors import own_vectors

    if not (setting := str(Config.read(environment.home.root).get("router.embedder"))):
        return [own_vectors()], shipped_topics()
    from xpm_runtime.embedder import TOPICS_FILE, Embedder

    folder = Path(setting).expanduser()
    encoders: list[Encoder] = [own_vectors(), Embedder.for_routing(folder)]
    path = folder / TOPICS_FILE
    return encoders, read_topics(path.read_bytes(), where=str(path)) if path.is_file() else shipped_topics()


_Turn = tuple[str, frozenset[str]]


def _labelled(path: Path, names: set[str]) -> list[list[_Turn]]:
    """Conversations, those of one turn for single prompts."""
    found: list[list[_Turn]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path} cannot be read", context=str(error)[:200]) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            turns = [_labelled_turn(each) for each in _turns_of(row)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{path}, line {number} is no labelled prompt",
                context=f"{type(error).__name__}: {error}"[:200],
                hint='each line is {"prompt": "…", "experts": ["expert-sql"]}, with [] for the base alone, or '
                '{"turns": [such, …]}',
            ) from error
        if unknown := {name for _, wanted in turns for name in wanted} - names:
            raise UsageError(
                f"{path}, line {number} names {min(unknown)[:80]}, which is not installed here",
                context=f"installed: {', '.join(sorted(names)) or 'none'}",
            )
        found.append(turns)
    if not any(found):
        raise UsageError(f"{path} holds no labelled prompt")
    return found


def _turns_of(row: Any) -> Any:
    return row["turns"] if isinstance(row, dict) and "turns" in row else [row]


def _labelled_turn(row: Any) -> _Turn:
    """Raises KeyError or TypeError if it is none."""
    prompt, experts = row["prompt"], row["experts"]
    if not isinstance(prompt, str) or not isinstance(experts, list):
        raise TypeError("prompt is a text, experts an array")
    return prompt, frozenset(map(str, experts))
