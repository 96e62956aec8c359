"""FedBRICK: small trained stand-ins for the blocks that a client lacks. AAAI 2026."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ServerTask
from fedra_ray.federation.reduction import Collected, Contribution
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Problem

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, SubModel

BRICKS = "fedbrick.bricks"


class FedBrick(FedRA):
    """In place of every absent block runs a BRICK E(x) = x * softmax(B1 A1 x) + B2 A2 x + x (`methods.brick`).

    There is a set of BRICKs, one per layer, for every domain. A round has three parts:

    1. For every domain a worker distils the set, layer by layer, on the proxy images that the server has of it: it
       minimises the mean squared E_l(x) - f_l(x) over x, what goes into block f_l of the whole global model.
    2. A client, which gets its domain's set, trains in two stages. In the first BRICKs fill its gaps, and it minimises
       the task's loss + lambda_w ||w - w_g||^2 + lambda_theta ||theta - theta_g||^2, where g marks what it got. In the
       second the blocks that it has run beside their BRICKs too: x becomes a f_l(x) + (1 - a) E_l(x) with
       a = 1 - e / E_2, and the loss is the task's + lambda_d / |S| sum over its blocks S of ||E_l(x) - f_l(x)||^2.
    3. The server averages: LoRA factors over holders, the head over all, and each set of BRICKs over its domain.

    The global model, without BRICKs, is evaluated. The source also gives: 5 % proxy images per domain, 10 epochs of
    distillation in every round at a learning rate of 1e-4, local stages of one epoch each (`training.local_epochs=2`)
    at 0.01, lambda_w = lambda_d = 0.01, lambda_theta = 0.005, rank 8.

    It does not say, as far as we know it, and is chosen here: layers are drawn as in FedRA. Proxy images are copies,
    which clients have too, and the same in all rounds. Distillation is by Adam, and goes on from the set that clients
    have trained. A1 and A2 begin uniform in +-1/sqrt(width), B1 and B2 at zero, alike for all domains. w is the BRICKs
    and theta LoRA and head; both terms enter by their gradients, so that the loss in the records is without them. Half
    of the local steps are the first stage; e / E_2 is the part of the second that is over, so that a falls from 1 in
    steps. ||.||^2 of tokens is a mean over all values, and f_l(x) a constant in it. In the second stage BRICKs fill
    gaps as before, and all that the client has is trained, w and theta without their terms.

    Costs count every BRICK that a client trains in all of its steps, as the second stage has it; the server's tasks are
    not counted. `aggregation.max_norm` takes a client's BRICKs to have begun at the mean of all sets.

    Args:
        problem: The model and the fleet.
        draw: How layers are drawn, as for FedRA.
        rank: Of the BRICKs.
        proxy: Part of each domain's training images that the server has; 0 for BRICKs without distillation.
        distill_passes: Epochs of distillation in a round.
        distill_lr: Its learning rate.
        stages: 2, or 1 for the first alone, in which only BRICKs of absent blocks are trained.
        pull_bricks: lambda_w.
        pull_adapter: lambda_theta.
        alignment: lambda_d.
    """

    collects_values = True
    fills_gaps = True

    def __init__(
        self,
        problem: Problem,
        draw: str = "uniform",
        rank: int = 8,
        proxy: float = 0.05,
        distill_passes: int = 10,
        distill_lr: float = 1e-4,
        stages: int = 2,
        pull_bricks: float = 0.01,
        pull_adapter: float = 0.005,
        alignment: float = 0.01,
    ) -> None:
        super().__init__(problem, draw)
        _check("rank", rank, 1 <= rank <= 4096, "must be from 1 to 4096")
        _check("proxy", proxy, 0 <= proxy <= 1, "must be from 0 to 1")
        _check("distill_passes", distill_passes, distill_passes >= 1, "must be at least 1")
        _check("distill_lr", distill_lr, distill_lr > 0, "must be greater than 0")
        _check("stages", stages, stages in (1, 2), "must be 1 or 2")
        for name, weight in (("pull_bricks", pull_bricks), ("pull_adapter", pull_adapter), ("alignment", alignment)):
            _check(name, weight, weight >= 0, "must be at least 0")
        if not problem.num_domains:
            raise SettingError("partition.scheme", "iid", "clients of method.name=fedbrick must have a domain each")
        self.rank, self.proxy, self.stages = rank, proxy, stages
        self.distill_passes, self.distill_lr = distill_passes, distill_lr
        self.pull_bricks, self.pull_adapter, self.alignment = pull_bricks, pull_adapter, alignment
        self.extra_names = self.stand_in_names = tuple(f"brick_{layer}" for layer in range(self.num_layers))

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        trained = [f"brick_{layer}" for layer in range(self.num_layers) if self.stages == 2 or layer not in layers]
        return (*self.head_names, *trained)

    def extra_modules(self, width: int) -> Mapping[str, nn.Module]:
        from fedra_ray.methods.brick import Brick

        return {name: Brick(width, self.rank) for name in self.extra_names}

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        rng = generator(seed, Purpose.SERVER)
        values = layout.initial(seed)
        for entries, segment in zip(layout.entries, layout.segments, strict=True):
            parts = [
                rng.uniform(-1, 1, entry.size) / np.sqrt(entry.shape[1]) * entry.name.endswith((".a1", ".a2"))
                for entry in entries
                if entry.name.startswith("extras.brick_")
            ]
            if parts:
                values[segment] = np.concatenate(parts)
        first = layout.pack(values, layout.held((), self.extra_names)).reshape(self.num_layers, -1)
        return ServerState(values).keeping(**{BRICKS: np.stack([first] * self.problem.num_domains)})

    def broadcast(self, state: ServerState) -> Arrays:
        return {BRICKS: state.arrays[BRICKS]}

    def server_tasks(self, state: ServerState, number: int) -> list[ServerTask]:
        domains = range(self.problem.num_domains if self.proxy else 0)
        return [ServerTask(number, domain, self.proxy, self.distill_passes) for domain in domains]

    def compute(self, model: SubModel, batches: Iterator[Batch], task: ServerTask, sent: ServerState) -> Arrays:
        """The set of the task's domain after distillation."""
        import torch
        from torch.nn import functional

        self._load(model, sent.arrays, task.domain)
        optimiser = torch.optim.Adam(model.held, lr=self.distill_lr)
        for batch in batches:
            total = torch.zeros((), device=batch.labels.device)
            stream = model.embed(batch.inputs)
            for name, block in zip(self.extra_names, model.blocks, strict=True):
                with torch.no_grad():
                    after = stream.after(block)
                total = total + functional.mse_loss(model.extras[name](stream.tokens).float(), after.tokens.float())
                stream = after
            optimiser.zero_grad(set_to_none=False)
            total.backward()
            optimiser.step()
        own = model.pack(model.layout.held((), self.extra_names))
        return {BRICKS: own.reshape(self.num_layers, -1)}

    def take_in(self, state: ServerState, results: list[Arrays]) -> ServerState:
        return state.keeping(**{BRICKS: np.stack([result[BRICKS] for result in results])})

    def begin(self, model: SubModel, local: LocalRound) -> None:
        self._load(model, local.received, self._domain(local.task.client))
        bricks = set(local.layout.held((), self.extra_names))
        local.scratch[BRICKS] = [
            (2 * (self.pull_bricks if index in bricks else self.pull_adapter), parameter.detach().clone())
            for index, parameter in zip(local.trained, model.held, strict=True)
        ]

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        import torch
        from torch.nn import functional

        share = self._block_share(local)
        distances = []
        stream = model.embed(batch.inputs)
        for layer, (name, block) in enumerate(zip(self.extra_names, model.blocks, strict=True)):
            if layer not in local.task.layers:
                stream = stream._replace(tokens=model.extras[name](stream.tokens))
            elif share is None:
                stream = stream.after(block)
            else:
                brick, after = model.extras[name](stream.tokens), stream.after(block)
                distances.append(functional.mse_loss(brick.float(), after.tokens.detach().float()))
                stream = after._replace(tokens=share * after.tokens + (1 - share) * brick)
        task_loss = functional.cross_entropy(model.scores(stream), batch.labels)
        return task_loss + self.alignment * torch.stack(distances).mean() if distances else task_loss

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        if self._block_share(local) is not None:
            return
        for gradient, parameter, (weight, start) in zip(
            model.gradients, model.held, local.scratch[BRICKS], strict=True
        ):
            gradient.add_(parameter.detach() - start, alpha=weight)

    def merge(self, state: ServerState, total: Any) -> ServerState:
        collected: Collected = total
        bricks = state.arrays[BRICKS].copy()
        for domain in range(self.problem.num_domains):
            own = [one for one in collected.contributions if self._domain(one.task.client) == domain]
            for layer, name in enumerate(self.extra_names):
                holders = [one for one in own if name in one.task.sent]
                if holders:
                    bricks[domain, layer] = _mean(collected.layout, holders, name)
        return super().merge(state, total).keeping(**{BRICKS: bricks})

    def _block_share(self, local: LocalRound) -> float | None:
        """The part `a` of a block's own output in the second stage; None in the first."""
        first = local.planned if self.stages == 1 else -(-local.planned // 2)
        over = local.steps - first
        return None if over < 0 else 1 - over / max(1, local.planned - first)

    def _domain(self, client: int) -> int:
        return client % self.problem.num_domains

    def _load(self, model: SubModel, received: Arrays, domain: int) -> None:
        """Put the set of a domain into the model."""
        import torch

        for name, values in zip(self.extra_names, received[BRICKS][domain], strict=True):
            start = 0
            for parameter in model.extras[name].parameters():
                stop = start + parameter.numel()
                parameter.data.copy_(torch.tensor(values[start:stop]).view(parameter.shape))
                start = stop


def _mean(layout: Layout, holders: list[Contribution], name: str) -> NDArray[np.float64]:
    """The weighted mean of an extra over clients that sent it, in their order."""
    (segment,) = layout.held((), (name,))
    weights = [one.task.weight for one in holders]
    values = [layout.part(one.values, layout.held(one.task.layers, one.task.sent), segment) for one in holders]
    mean: NDArray[np.float64] = np.average(np.array(values, dtype=np.float64), axis=0, weights=weights)
    return mean


def _check(option: str, value: object, allowed: bool, bounds: str) -> None:
    if not allowed:
        raise SettingError(f"method.options.{option}", value, bounds)
