"""Who answers a turn of a conversation: ways of using the turns before it, compared on simulated
sessions and on written ones.

    python -m tests.routing.sequence [--sessions 600]

All ways see the same log-odds of the router for each turn, and go on from their own decisions. What has to be fitted is
fitted to the sessions of `tune` phrasings; those of `held` are judged, and ``sessions.jsonl``, which was written by
hand before anything was fitted; intervals are by bootstrap over sessions.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.routing.dataset import cards
from tests.routing.sessions import Session, Turn, sessions
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.install import require_stored
from xpm.operations.installed import packages_of
from xpm.operations.options import Options
from xpm.operations.parts import part_of
from xpm.operations.route import router_of
from xpm.progress import Silent
from xpm.project import EMBEDDED_EXPERTS, Project
from xpm_runtime.router.prompt import ReadPrompt, read_prompt
from xpm_runtime.router.route import Router
from xpm_runtime.router.vectors import own_vectors

Array = NDArray[np.float64]
WRITTEN = Path(__file__).with_name("sessions.jsonl")
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """A turn as ways see it: float64 (1 + cards,) log-odds, the base's 0 first; the place of who should answer."""

    odds: Array
    read: ReadPrompt
    wanted: int
    kind: str


@cache
def router_over(installed: tuple[str, ...]) -> Router:
    return Router([card for card in cards() if card.name in installed], encoders=[own_vectors()])


def seen(session: Session, router: Router) -> list[Seen]:
    names = ["", *(card.name for card in router.cards)]
    found = []
    for turn in session.turns:
        read = read_prompt(turn.prompt)
        odds = router._signals.log_odds(router._signals.table(read, router._vectors(read)))
        found.append(Seen(np.concatenate([[0.0], odds.astype(np.float64)]), read, names.index(turn.expert), turn.kind))
    return found


Way = Callable[[Sequence[Seen]], list[int]]
NOBODY = -1


def is_closing(turn: Seen) -> bool:
    return "asks:nothing" in turn.read.signs


def plain(turns: Sequence[Seen]) -> list[int]:
    """Each turn by itself."""
    return [int(each.odds.argmax()) for each in turns]


def carried(turns: Sequence[Seen]) -> list[int]:
    """Those who answered last, where nobody fits and it is no general question: what `xpm chat` did before."""
    found, last = [], 0
    for each in turns:
        best = int(each.odds.argmax())
        if best == 0 and not each.read.is_general:
            best = last
        found.append(best)
        last = best
    return found


def carried_over(turns: Sequence[Seen]) -> list[int]:
    """The same, where a closing word takes nothing from those who answered before it: ``xpm_runtime.router.turns``."""
    found, last = [], 0
    for each in turns:
        best = int(each.odds.argmax())
        if best == 0 and not each.read.is_general:
            best = last
        found.append(best)
        last = last if is_closing(each) else best
    return found


def sticky(bonus: float, of_base: float) -> Way:
    """Log-odds of who answered last are raised, unless nothing is asked."""

    def way(turns: Sequence[Seen]) -> list[int]:
        found, last = [], NOBODY
        for each in turns:
            odds = each.odds.copy()
            if last != NOBODY and not is_closing(each):
                odds[last] += bonus if last else of_base
            found.append(int(odds.argmax()))
            last = last if is_closing(each) else found[-1]
        return found

    return way


def hidden_markov(stay: float, sharpness: float) -> Way:
    """Who is spoken with is hidden, and stays with a probability; a turn's shares are its
    likelihood (forward filter)."""

    def way(turns: Sequence[Seen]) -> list[int]:
        found, belief = [], None
        for each in turns:
            likelihood = np.exp(sharpness * (each.odds - each.odds.max()))
            if is_closing(each):
                found.append(int(each.odds.argmax()))
                continue
            prior = np.full(len(likelihood), 1 / len(likelihood))
            if belief is not None:
                prior = stay * belief + (1 - stay) * prior
            belief = likelihood * prior
            belief /= belief.sum()
            found.append(int(belief.argmax()))
        return found

    return way


# A logistic model over signals of this turn and who answered the ones before

_ONGOING = re.compile(
    r"^(and|also|now|then|but|or|so|no|ok(ay)?|hm+|what about|how about|same|the same|instead|again|only|just|without"
    r"|with|plus"
    r"|und|auch|jetzt|nun|aber|nur|ohne|et|aussi|maintenant|mais|sans|seulement|y|también|ahora|pero|sin|solo)\b"
)
_POINTING = re.compile(
    r"\b(it|its|that|those|them|these|this|one|ones|there|they|same|instead|das|es|die|davon|ça|cela|eso|esto)\b"
)


FEATURES = ("always", "short", "brief", "ongoing", "pointing", "general", "names", "shows", "unsure", "largest")


def features(turn: Seen) -> Array:
    """float64 (features,)."""
    read, words = turn.read, len(turn.read.folded.split())
    most = float(turn.odds[1:].max(initial=-8.0))
    return np.array(
        [
            1.0,
            words <= 4,
            words <= 8,
            _ONGOING.search(read.folded) is not None,
            _POINTING.search(read.folded) is not None,
            read.is_general,
            bool(read.named),
            bool(read.shown),
            most < 0,
            np.clip(most, -4, 4) / 4,
        ]
    )


def design(turn: Seen, last: int, before: int, used: NDArray[np.bool_]) -> Array:
    """float64 (1 + cards, parameters): what is weighed for each who could answer.

    The first is the router's log-odds; then whether it is the base, and who answered before the last; then features,
    for who answered last, of an expert and of the base.
    """
    told = features(turn) * used
    table = np.zeros((len(turn.odds), 3 + 2 * len(told)))
    table[:, 0] = turn.odds
    table[0, 1] = 1
    if last > 0:
        table[last, 3 : 3 + len(told)] = told
    elif last == 0:
        table[0, 3 + len(told) :] = told
    if before > 0 and before != last:
        table[before, 2] = 1
    return table


def modelled(weights: Array, used: NDArray[np.bool_]) -> Way:
    def way(turns: Sequence[Seen]) -> list[int]:
        found, last, before = [], NOBODY, NOBODY
        for each in turns:
            if is_closing(each):
                found.append(int(each.odds.argmax()))
                continue
            found.append(int((design(each, last, before, used) @ weights).argmax()))
            if found[-1] != last:
                last, before = found[-1], last
        return found

    return way


def fit(rows: Sequence[Sequence[Seen]], used: NDArray[np.bool_], *, penalty: float = 1.0, rounds: int = 3) -> Array:
    """Weights by gradient descent on the likelihood (Adam); later rounds see the states that
    the model itself runs into."""
    weights = np.zeros(3 + 2 * len(FEATURES))
    weights[0] = 1
    start = weights.copy()
    for number in range(rounds):
        tables, wanted = [], []
        for turns in rows:
            states = [each.wanted for each in turns] if number == 0 else modelled(weights, used)(turns)
            last = before = NOBODY
            for each, state in zip(turns, states, strict=True):
                if is_closing(each):
                    continue
                tables.append(design(each, last, before, used))
                wanted.append(each.wanted)
                if state != last:
                    last, before = state, last
        widest = max(map(len, tables))
        batch = np.zeros((len(tables), widest, len(weights)))
        out = np.ones((len(tables), widest), bool)
        for row, table in enumerate(tables):
            batch[row, : len(table)], out[row, : len(table)] = table, False
        moment, spread = np.zeros_like(weights), np.zeros_like(weights)
        for step in range(1, 201):
            odds = np.where(out, -np.inf, batch @ weights)
            shares = np.exp(odds - odds.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            shares[np.arange(len(wanted)), wanted] -= 1
            gradient = shares.reshape(-1) @ batch.reshape(-1, len(weights)) / len(batch) + penalty / len(batch) * (
                weights - start
            )
            moment, spread = 0.9 * moment + 0.1 * gradient, 0.999 * spread + 0.001 * gradient**2
            weights = weights - 0.05 * (moment / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.999**step)) + 1e-8)
    return weights


# Judging


def right(way: Way, rows: Sequence[Sequence[Seen]]) -> list[NDArray[np.bool_]]:
    return [np.array([one == each.wanted for one, each in zip(way(turns), turns, strict=True)]) for turns in rows]


def share(found: Sequence[NDArray[np.bool_]]) -> float:
    return float(np.concatenate(found).mean())


def interval(
    one: Sequence[NDArray[np.bool_]], other: Sequence[NDArray[np.bool_]], *, seed: int = 7
) -> tuple[float, float, float]:
    """(difference of shares, low, high), 95 %, sessions drawn with replacement."""
    sums = np.array([[a.sum(), b.sum(), len(a)] for a, b in zip(one, other, strict=True)], float)
    rng = np.random.default_rng(seed)
    drawn = sums[rng.integers(0, len(sums), (_DRAWS, len(sums)))].sum(axis=1)
    differences = (drawn[:, 0] - drawn[:, 1]) / drawn[:, 2]
    return share(one) - share(other), *(float(np.quantile(differences, each)) for each in (0.025, 0.975))


def best(ways: Mapping[str, Way], rows: Sequence[Sequence[Seen]]) -> tuple[str, Way]:
    return max(ways.items(), key=lambda item: share(right(item[1], rows)))


def written() -> list[list[Seen]]:
    """``sessions.jsonl``, over the cards of the experts that come with xpm, their own heads among them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        Project(wants=EMBEDDED_EXPERTS).save(folder)
        environment = Environment(home=Home(folder / "home"), folder=folder, is_project=True)
        packages = packages_of(environment, require_stored(environment, Options(progress=Silent())))
        experts = [part_of(each) for each in packages if each.package.kind == "expert"]
        router = router_of(environment, experts, progress=Silent())
    found = []
    for line in WRITTEN.read_text(encoding="utf-8").splitlines():
        turns = [
            Turn(prompt=each["prompt"], expert="".join(each["experts"]), kind="written")
            for each in json.loads(line)["turns"]
        ]
        found.append(seen(Session(installed=(), turns=tuple(turns)), router))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=600, help="of each split")
    number = parser.parse_args().sessions
    rows = {
        split: [seen(each, router_over(each.installed)) for each in sessions(split, number)]
        for split in ("tune", "held")
    }
    rows["written"] = written()
    tune = rows["tune"]
    ways: dict[str, Way] = {"each alone": plain, "carried": carried, "carried over closing words": carried_over}
    bonuses = [(bonus, of_base) for bonus in np.arange(0, 8.5, 0.5) for of_base in np.arange(-1, 4.5, 0.5)]
    ways |= [best({f"sticky {bonus:g}, {of_base:g}": sticky(bonus, of_base) for bonus, of_base in bonuses}, tune)]
    chains = [(stay, sharpness) for stay in (0.3, 0.5, 0.7, 0.9, 0.98, 0.999) for sharpness in (0.25, 0.5, 1.0)]
    ways |= [best({f"hidden Markov {stay:g}, {sharp:g}": hidden_markov(stay, sharp) for stay, sharp in chains}, tune)]
    used = np.ones(len(FEATURES), bool)
    for penalty in (1.0, 10.0):
        ways[f"logistic, {2 * len(FEATURES) + 3} weights, penalty {penalty:g}"] = modelled(
            fit(tune, used, penalty=penalty), used
        )
    before = {name: right(carried_over, each) for name, each in rows.items()}
    print("| way | " + " | ".join(f"{name} | against carried over closing words" for name in rows) + " |")
    print("|---" * (1 + 2 * len(rows)) + "|")
    for name, way in ways.items():
        told = []
        for split, each in rows.items():
            found = right(way, each)
            over, low, high = (100 * figure for figure in interval(found, before[split]))
            told += [f"{share(found):.1%}", f"{over:+.1f} [{low:+.1f}, {high:+.1f}]"]
        print(f"| {name} | {' | '.join(told)} |", flush=True)
    kinds = sorted({each.kind for turns in rows["held"] for each in turns})
    print("\n| held | " + " | ".join(kinds) + " |\n" + "|---" * (1 + len(kinds)) + "|")
    flat = [each.kind for turns in rows["held"] for each in turns]
    for name, way in ways.items():
        is_right = np.concatenate(right(way, rows["held"]))
        shares = [is_right[[each == kind for each in flat]].mean() for kind in kinds]
        print(f"| {name} | " + " | ".join(f"{each:.0%}" for each in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
