"""What travels between server and clients. Plain values and numpy arrays, so that any transport can carry them."""

from dataclasses import dataclass, field, fields

from fedra_ray.federation.state import Arrays, Vector
from fedra_ray.federation.traffic import Traffic


@dataclass(frozen=True)
class ClientTask:
    """One client's work in one round.

    Attributes:
        round: Number of the round, from 1.
        client: Number of the client.
        layers: Indices of the layers whose LoRA factors it trains, ascending: a row of the allocation matrix.
        named: Names of the further segments that it trains: heads, and extras of the method.
        unsent: Names of those among them that it does not send back.
        frozen: Indices of further blocks that its sub-model runs and does not train.
        group: Its group; updates of one group are summed together.
        max_steps: The most local steps it may take; None for no bound.
        images: How many images its steps take together: with the blocks, how long it will train.
        weight: Weight of its update in the average.
        total_weight: Weight of the whole cohort.
        fetched: Bytes of frozen weights that it downloads before it trains.
        depth: How many blocks it can hold.
    """

    round: int
    client: int
    layers: tuple[int, ...]
    named: tuple[str, ...]
    unsent: tuple[str, ...] = ()
    frozen: tuple[int, ...] = ()
    group: int = 0
    max_steps: int | None = None
    images: int = 1
    weight: int = 1
    total_weight: int = 1
    fetched: int = 0
    depth: int = 0

    @property
    def blocks(self) -> tuple[int, ...]:
        """Indices of the blocks that its sub-model runs, ascending."""
        return tuple(sorted({*self.layers, *self.frozen}))

    @property
    def sent(self) -> tuple[str, ...]:
        """Names of the further segments that it trains and sends back."""
        return tuple(name for name in self.named if name not in self.unsent)

    @property
    def work(self) -> int:
        """How much there is to train: layers times images."""
        return max(1, len(self.layers)) * self.images


@dataclass(frozen=True)
class ServerTask:
    """What a server has a worker compute before a round is drawn, on images that the server has itself.

    Attributes:
        round: Number of the round, from 1.
        domain: Number of the domain that the images are of.
        share: Part of the domain's training images that the server has; of these at least one.
        passes: How often it goes over them; 0 if it looks at none.
    """

    round: int
    domain: int
    share: float
    passes: int


@dataclass(frozen=True)
class ClientReport:
    """A client's part in a round, as the records keep it.

    Attributes:
        task: What it was asked to do.
        traffic: Bytes that it sent, and that it received but for frozen weights.
        examples: Number of its training images.
        steps: Local steps taken.
        loss: Mean training loss over the steps.
        seconds: Time spent in training.
        skipped: Name and error of every image that could not be read and was left out.
        slot: Number of the actor that trained it.
        attempt: 1, or more after failures.
    """

    task: ClientTask
    traffic: Traffic
    examples: int
    steps: int
    loss: float
    seconds: float
    skipped: tuple[tuple[str, str], ...] = ()
    slot: int = 0
    attempt: int = 1


@dataclass(frozen=True)
class ClientUpdate(ClientReport):
    """What a client sends back.

    Attributes:
        values: The segments that it sends, one after another (float32).
        extra: Further arrays for the method's reduction, by name.
        kept: What the client keeps for its next round, by name; the simulator stores it for the virtual client.
    """

    values: Vector = field(kw_only=True)
    extra: Arrays = field(kw_only=True, default_factory=dict)
    kept: Arrays = field(kw_only=True, default_factory=dict)

    def report(self) -> ClientReport:
        """All but the arrays."""
        return ClientReport(**{item.name: getattr(self, item.name) for item in fields(ClientReport)})


@dataclass(frozen=True)
class ClientFailure:
    """A client whose training raised an error, with the error's text."""

    task: ClientTask
    error: str


@dataclass(frozen=True)
class Score:
    """Accuracy of a global model on one domain and split; counts, so that they add up exactly.

    Attributes:
        domain: Name of the domain.
        split: validation or test.
        examples: Number of images or texts; of answers to prompts, of their tokens.
        top1: How many had the highest score on their label.
        top5: How many had their label among the five highest scores.
        loss: Mean cross entropy.
        skipped: Name and error of every image that could not be read and was left out.
        by_class: Hits, predictions and examples of every class (3, classes); empty for answers.
        answers: Number of answers.
        exact: How many of them greedy generation gives token for token.
    """

    domain: str
    split: str
    examples: int
    top1: int
    top5: int
    loss: float
    skipped: tuple[tuple[str, str], ...] = ()
    by_class: tuple[tuple[int, ...], ...] = ()
    answers: int = 0
    exact: int = 0
