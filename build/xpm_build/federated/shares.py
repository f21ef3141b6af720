"""How rows are spread over clients: alike, or so that each has more of some kinds than of others."""

from collections.abc import Sequence

import numpy as np

from xpm_build.errors import TrainingError
from xpm_build.rows import Row


def spread(rows: Sequence[Row], num_clients: int, *, concentration: float | None, seed: int) -> list[list[Row]]:
    """Each row to one client, every client at least one: a pure function of its arguments.

    Args:
        concentration: of the Dirichlet distribution from which the clients' shares of every ``family`` are drawn: about
            0.1 gives most of a kind to one client, 100 the same to all; None spreads all rows evenly.
    Raises:
        TrainingError: there are fewer rows than clients, or no family to spread unevenly.
    Source:
        Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated
        visual classification", 2019.
    """
    if len(rows) < num_clients:
        raise TrainingError(
            f"{len(rows):,} rows are too few for {num_clients} clients", hint="name fewer clients, or make more rows"
        )
    rng = np.random.default_rng(seed)
    order = [rows[index] for index in rng.permutation(len(rows))]
    if concentration is None:
        return [order[number::num_clients] for number in range(num_clients)]
    kinds: dict[str, list[Row]] = {}
    for row in order:
        kinds.setdefault(str(row.get("family", "")), []).append(row)
    if len(kinds) < 2:
        raise TrainingError(
            "all rows are of one family, so none can be spread unevenly", hint="take out --concentration"
        )
    clients: list[list[Row]] = [[] for _ in range(num_clients)]
    for kind in sorted(kinds):
        own = kinds[kind]
        ends = np.rint(np.cumsum(rng.dirichlet([concentration] * num_clients)) * len(own)).astype(int)
        for client, first, end in zip(clients, [0, *ends], ends, strict=False):
            client += own[first:end]
    for client in clients:  # who has nothing gets a row of who has most
        if not client:
            client.append(max(clients, key=len).pop())
    return clients
