"""What a federated method decides. The defaults are those of federated averaging with LoRA (FedAvg, FedIT).

The server calls the functions that decide about clients and updates, and client actors those that compute with a model.
Methods import torch in the latter only, so that a server starts without the seconds that the import takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedra_ray.federation.allocation import Coverage, Matrix, drawn_coverage
from fedra_ray.federation.layout import Layout, changed_weights
from fedra_ray.federation.messages import ServerTask
from fedra_ray.federation.reduction import Collected, MaskedSums, Reduction
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.federation.traffic import VALUE_BYTES, Traffic, count_values

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, Inputs, SubModel


@dataclass(frozen=True)
class Problem:
    """What a method is made for.

    Attributes:
        num_layers: Blocks of the full model.
        depths: The depths that clients of the fleet have, in the order of its first clients.
        num_clients: Size of the fleet.
        rounds: How many rounds there are.
        least_cohort: Depths of the shallowest cohort that there can be, ascending; empty if that is not known.
        num_domains: How many domains there are: client k is of domain k modulo that; 0 if clients are of no domain.
    """

    num_layers: int
    depths: tuple[int, ...]
    num_clients: int = 1
    rounds: int = 1
    least_cohort: tuple[int, ...] = ()
    num_domains: int = 0


class Method(ABC):
    """A federated method: who trains what, towards which local objective, and how updates become the next model.

    A subclass takes its own options as further keyword arguments; conf/method/NAME.yaml sets them. Only `allocate` must
    be given. Refuse what cannot work with a `SettingError` in the constructor: it is called before any actor starts.

    Args:
        problem: The model and the fleet.

    Attributes:
        head_names: The heads of the model, shallowest first; the last one is saved as the model's head.
        extra_names: Names of the further segments that it trains; `extra_modules` makes their modules.
        stand_in_names: Those of them, all alike, that clients train in the place of blocks or beside them.
        keeps_client_state: Whether clients keep something from one of their rounds to the next (`LocalRound.kept`).
        streams: Whether clients have only one of the blocks that they run and do not train in memory at a time. It
            changes what a round costs and not what it computes.
        recomputes: Whether that is so for the blocks that they train, too.
        share: Part of the images from which layers get gradients that are `partial`.
        statistics: Names of what `finish` sends as arrays of any shape; the server gets them one by one.
        collects_values: Whether the server needs the clients' values one by one, and not only their sums.
        averages_factors: Whether the next LoRA factors of a layer are the means of its holders', and nothing else.
        changes_weights: Whether the server adds changes to the adapted weights themselves: for every layer, an extra
            `weights_LAYER` of a matrix (outputs, inputs) per target, which counts alpha / rank times, as products do.
        reads_weights: Whether it computes with the frozen weights themselves, as `changes_weights` does too: then they
            must not be quantised.
        fills_gaps: Whether clients run something in place of the blocks that they lack, which must then be absent.
    """

    head_names: tuple[str, ...] = ("head",)
    extra_names: tuple[str, ...] = ()
    stand_in_names: tuple[str, ...] = ()
    keeps_client_state: bool = False
    streams: bool = False
    recomputes: bool = False
    share: float = 1.0
    statistics: tuple[str, ...] = ()
    collects_values: bool = False
    averages_factors: bool = True
    changes_weights: bool = False
    reads_weights: bool = False
    fills_gaps: bool = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @property
    def num_layers(self) -> int:
        """Blocks of the full model."""
        return self.problem.num_layers

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths that clients of the fleet have."""
        return self.problem.depths

    # Who trains what: called by the server.

    @abstractmethod
    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        """The allocation matrix of a cohort: bool (clients, layers), true where a client trains a layer.

        Args:
            depths: How many blocks each client can hold.
            rng: Random numbers of the round; the only source of randomness.
            state: State of the server before the round, for methods that learn whom to give what; None to plan a round
                that no run has reached.
        """

    def eligible(self, depth: int) -> bool:
        """Whether a client of this depth takes part at all."""
        return True

    def blocks(self, layers: Sequence[int]) -> tuple[int, ...]:
        """The blocks that the sub-model of a client with these layers runs; those beyond its layers stay frozen."""
        return tuple(layers)

    def partial(self, layers: Sequence[int], depth: int) -> int:
        """How many of the first of these layers get gradients from a part of the images alone, at this depth.

        Of their blocks one at a time is in memory. What this says is counted; what is computed, `loss` says.
        """
        return 0

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        """Names of the heads and extras that a client with these layers trains."""
        return self.head_names + self.extra_names

    def ranks(self, layers: Sequence[int]) -> Mapping[int, int]:
        """The LoRA ranks at which a client with these layers trains some of them, by layer; the others have all ranks.

        A client with r ranks trains the first r rows of A and columns of B and sends zeros for the others.
        """
        return {}

    def travelling_factors(self, number: int) -> tuple[str, str]:
        """Which LoRA factors of their layers clients send in a round, and which they receive: A, B or AB."""
        return "AB", "AB"

    def traffic(self, layout: Layout, layers: Sequence[int], sent: Sequence[str], number: int) -> Traffic:
        """What a client sends and receives in a round, but for frozen weights and what `finish` adds.

        It may have missed any round before, and so receives all that the server may have changed.

        Args:
            layout: How the adapter lies in its flat vector.
            layers: The layers that it trains.
            sent: Names of the heads and extras that it trains and sends back.
            number: Number of the round.
        """
        ranks = self.ranks(layers)
        up, down = (count_values(layout, layers, sent, ranks, factors) for factors in self.travelling_factors(number))
        if self.changes_weights:
            down += count_values(layout, (), [changed_weights(block) for block in self.blocks(layers)], {}, "")
        return Traffic(VALUE_BYTES * up, VALUE_BYTES * down)

    def unsent(self, cohort: Sequence[int]) -> tuple[str, ...]:
        """Names of the heads and extras that clients of this cohort train for themselves and do not send back."""
        return ()

    def coverage(self, depths: list[int], matrix: Matrix) -> Coverage:
        """How many layers of the evaluated model a round leaves without a holder; here, those of one draw.

        Args:
            depths: Of the round's clients.
            matrix: Their allocation matrix (clients, layers).
        """
        return drawn_coverage(matrix[:, list(self.evaluated_layers)])

    # What the server has computed before a round, on images of its own: `compute` is called on the workers.

    def server_tasks(self, state: ServerState, number: int) -> list[ServerTask]:
        """What is to be computed before a round is drawn; nothing for most methods.

        Args:
            state: The state before the round.
            number: Number of the round, from 1.
        """
        return []

    def compute(self, model: SubModel, batches: Iterator[Batch], task: ServerTask, sent: ServerState) -> Arrays:
        """The result of a server task, by name.

        Args:
            model: With the global values and without dropout. Its extras may be trained.
            batches: The images that the server has of the task's domain, as often as the task says.
            task: One of `server_tasks`.
            sent: The global adapter, and what `broadcast` makes of the state.
        """
        return {}

    def take_in(self, state: ServerState, results: list[Arrays]) -> ServerState:
        """The state with which the round begins, from the results of all server tasks, in their order."""
        return state

    # Local training: called on clients.

    def extra_modules(self, width: int) -> Mapping[str, nn.Module]:
        """A module for each of `extra_names`, by name. All its parameters are trained; `init_state` sets their values.

        Args:
            width: Width of the model's tokens.
        """
        return {}

    def begin(self, model: SubModel, local: LocalRound) -> None:  # noqa: B027  (a hook: most methods need none)
        """Called before a client's first local step, when the model has the global values."""

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        """The local objective on a batch: a scalar with a graph.

        Args:
            model: In training mode, with the client's values.
            batch: Inputs of n examples, and labels (n,).
            local: The client's round: its task, and what it received and kept.
        """
        from torch.nn import functional

        return functional.cross_entropy(model.logits(batch.inputs, local.task.blocks), batch.labels)

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:  # noqa: B027
        """Called in every local step after the backward pass and before clipping; change `model.gradients` in place."""

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        """Called after the last local step; what the client sends besides its values, by name (`MaskedSums.extra`)."""
        return {}

    # Aggregation: called by the server, `group` and `reduction` by client actors too.

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        """What the server begins with: the initial global adapter, and arrays of the method's own."""
        return ServerState(layout.initial(seed))

    def broadcast(self, state: ServerState) -> Arrays:
        """What the server sends to every client besides the global adapter, by name."""
        return {}

    def group(self, layers: Sequence[int]) -> int:
        """Updates of one group are summed together; a method that compares groups overrides this."""
        return 0

    def reduction(self, layout: Layout) -> Reduction:
        """An empty reduction, which adds up the updates of a round, and keeps what the method asks for one by one."""
        if self.statistics or self.collects_values:
            return Collected(layout, self.statistics, self.collects_values)
        return MaskedSums(layout)

    def merge(self, state: ServerState, total: Any) -> ServerState:
        """The next state from this round's updates: the masked mean over all holders; arrays stay as they are.

        Not called in a round without any update.

        Args:
            state: The state before the round.
            total: A reduction that `reduction` made, with all updates of the round in it.
        """
        return ServerState(total.total().mean(state.values), state.arrays)

    # Prediction: called where the global model is evaluated.

    @property
    def evaluated_layers(self) -> tuple[int, ...]:
        """The layers of the global model that is evaluated."""
        return tuple(range(self.num_layers))

    @property
    def evaluated_exits(self) -> list[tuple[int, str]]:
        """The heads that `predict` uses, shallowest first: how many of the evaluated layers lie before it, its name."""
        return [(len(self.evaluated_layers), "head")]

    @property
    def combination(self) -> str:
        """How `predict` makes class scores of those exits, in words, for whoever uses the model elsewhere.

        A method that overrides `predict` says it too; otherwise the words name its function.
        """
        predict = type(self).predict
        if predict is Method.predict:
            return "the scores of the exit"
        return f"as {predict.__module__}.{predict.__qualname__} makes them"

    def predict(self, model: SubModel, inputs: Inputs) -> Tensor:
        """Class scores (examples, classes) of the global model."""
        return model.logits(inputs, self.evaluated_layers)
