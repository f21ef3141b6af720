"""A client of the simulation: rows of its own, the adapter that came from the server in, a trained one out.

The only module, with ``server``, that imports Flower. All clients share one model in memory, and
train one after the other.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.client_proxy import ClientProxy
from numpy.typing import NDArray

from xpm_build.adapter.together import batch_of

Arrays = list[NDArray[np.float32]]
Tokens = Sequence[tuple[Sequence[int], Sequence[int]]]


class Learner:
    """The model that clients take turns with. ``settings``: TrainingSettings."""

    def __init__(self, model: Any, *, learning_rate: float, batch_size: int, steps: int, seed: int) -> None:
        self.model = model
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self._learning_rate, self._batch_size, self._steps, self._seed = learning_rate, batch_size, steps, seed

    def arrays(self) -> Arrays:
        return [each.detach().cpu().numpy().astype(np.float32) for each in self.parameters]

    def put(self, arrays: Arrays) -> None:
        with torch.no_grad():
            for parameter, array in zip(self.parameters, arrays, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def loss(self, rows: Tokens) -> torch.Tensor:
        batch = {key: each.to(self.model.device) for key, each in batch_of(rows).items()}
        labels = batch.pop("labels")[:, 1:]
        logits = self.model(**batch).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())

    def train(self, rows: Tokens, label: str) -> float:
        """Some steps of AdamW from where the adapter stands, with fresh moments; the mean loss.

        Args:
            label: what the batches are drawn by, besides the seed.
        """
        rng = random.Random(f"{self._seed}/{label}")
        optimizer = torch.optim.AdamW(self.parameters, lr=self._learning_rate, weight_decay=0.0)
        self.model.train()
        losses = []
        for _ in range(self._steps):
            loss = self.loss(rng.sample(rows, min(self._batch_size, len(rows))))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
        self.model.eval()
        return sum(losses) / len(losses)


class LocalClient(ClientProxy):
    """What Flower's server talks to. ``weight`` is how much its adapter counts in the average."""

    def __init__(self, number: int, learner: Learner, rows: Tokens, *, weight: int) -> None:
        super().__init__(str(number))
        self._learner, self._rows, self._weight = learner, rows, weight

    def fit(self, ins: FitIns, timeout: float | None, group_id: int | None) -> FitRes:
        self._learner.put(parameters_to_ndarrays(ins.parameters))
        loss = self._learner.train(self._rows, f"{self.cid}/{group_id}")
        return FitRes(
            status=Status(Code.OK, ""),
            parameters=ndarrays_to_parameters(self._learner.arrays()),
            num_examples=self._weight,
            metrics={"loss": loss},
        )

    def get_properties(self, ins: Any, timeout: float | None, group_id: int | None) -> Any:
        raise NotImplementedError("the server asks for nothing but training")

    get_parameters = evaluate = reconnect = get_properties
