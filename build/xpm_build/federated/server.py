"""The rounds, by Flower's own server and strategies: FedAvg, and around it central
differential privacy with clipping."""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.client_manager import SimpleClientManager
from flwr.server.server import Server
from flwr.server.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg, Strategy

from xpm_build.errors import TrainingError
from xpm_build.federated.client import Learner, LocalClient, Tokens
from xpm_build.federated.options import FederatedOptions

_TIMEOUT_S = None  # a client is a function call


def rounds_of(
    learner: Learner,
    shares: Sequence[Tokens],
    judged: Tokens,
    options: FederatedOptions,
    *,
    report: Callable[[str], None],
) -> list[float]:
    """Let clients and server take turns; ``learner`` ends with the last average. The losses on
    ``judged``, first to last.

    With noise every client counts alike, since Flower's noise is for a plain mean; else by its number of rows.

    Raises:
        TrainingError: a client failed.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    losses: list[float] = []

    def evaluate(number: int, arrays: Any, config: Any) -> tuple[float, dict[str, Any]]:
        learner.put(arrays)
        with torch.no_grad():
            loss = learner.loss(judged).item()
        losses.append(loss)
        report(f"round {number}/{options.rounds}  validation loss {loss:.4f}")
        return loss, {}

    manager = SimpleClientManager()
    for number, rows in enumerate(shares):
        manager.register(LocalClient(number, learner, rows, weight=1 if options.noise else len(rows)))
    averaging: Strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=len(shares),
        min_available_clients=len(shares),
        accept_failures=False,
        evaluate_fn=evaluate,
        initial_parameters=ndarrays_to_parameters(learner.arrays()),
        fit_metrics_aggregation_fn=lambda found: {},
        inplace=False,
    )
    if options.noise:
        averaging = DifferentialPrivacyServerSideFixedClipping(
            averaging, noise_multiplier=options.noise, clipping_norm=options.clip, num_sampled_clients=len(shares)
        )
    random.seed(0)  # in which order clients come, which rounding depends on
    server = _OneByOne(client_manager=manager, strategy=averaging)
    server.set_max_workers(1)
    server.fit(options.rounds, _TIMEOUT_S)
    learner.put(parameters_to_ndarrays(server.parameters))
    return losses


class _OneByOne(Server):
    """Flower's server, which stops where a client fails instead of going on without a round."""

    def fit_round(self, server_round: int, timeout: float | None) -> Any:
        found = super().fit_round(server_round, timeout)
        failures = found[2][1] if found else ["no clients"]
        if failures:
            raise TrainingError(f"a client failed in round {server_round}", context=str(failures[0])[:300])
        return found
