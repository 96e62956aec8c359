"""A client actor: one slot of a capacity tier, in which any number of clients train, one after another."""

import traceback
from collections.abc import Mapping
from dataclasses import replace

import ray

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.shards import Shard
from fedra_ray.federation.state import Arrays, ServerState, Vector
from fedra_ray.runtime.uncollected import uncollected


class ClientSlot:
    """A host in a process of its own, over the node's one copy of the frozen weights.

    Args:
        number: Number of the slot, for the records.
        given: References to the experiment, and to the frozen weights: arrays that Ray maps from the node's object
            store without a copy. In a list, so that Ray does not fetch them, and import what they are made of, before.
    """

    def __init__(self, number: int, given: list[ray.ObjectRef]) -> None:
        with uncollected():
            import torch  # here, because the server names this class too and must start without torch and timm

            from fedra_ray.client.host import ClientHost

            blueprint, weights = ray.get(given)
        on_gpu = ray.get_gpu_ids() and torch.cuda.is_available()
        self._number = number
        self._host = ClientHost(blueprint, weights, "cuda" if on_gpu else "cpu")

    def notice(self) -> str | None:
        """What is not as the configuration has it; None if all is. The first call of every actor: it has started."""
        import torch

        if ray.get_gpu_ids() and not torch.cuda.is_available():
            return f"client actors compute on the CPU: torch {torch.__version__} can use none of the GPUs they reserve"
        return None

    def train(self, tasks: list[tuple[ClientTask, int]], sent: ServerState, kept: Mapping[int, Arrays]) -> PartialRound:
        """Train a batch of (task, attempt); an error of one client leaves the others alone.

        Args:
            tasks: What clients are to train, and which attempt this is at each.
            sent: The global adapter, and what the method's server sent along.
            kept: What these clients kept from earlier rounds, by client.
        """
        answers = (self._answer(task, attempt, sent, kept.get(task.client)) for task, attempt in tasks)
        return self._host.reduce(answers, sent.values)

    def compute(self, task: ServerTask, sent: ServerState) -> Arrays:
        """The result of a server task."""
        return self._host.compute_one(task, sent)

    def evaluate(self, shard: Shard, values: Vector) -> Score:
        """Score of the global adapter on a shard of a domain."""
        return self._host.evaluate_one(shard, values)

    def _answer(
        self, task: ClientTask, attempt: int, sent: ServerState, kept: Arrays | None
    ) -> ClientUpdate | ClientFailure:
        try:
            return replace(self._host.train_one(task, sent, kept), slot=self._number, attempt=attempt)
        except RunFailedError:  # another attempt would end the same
            raise
        except Exception:  # whatever a method or data set raises belongs to this client's failure
            return ClientFailure(task, traceback.format_exc())
