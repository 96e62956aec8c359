"""Settings of how a run is carried out. None of them ever changes a result."""

from dataclasses import dataclass, field

from fedra_ray.config.bounds import setting


@dataclass
class RuntimeConfig:
    """How the simulation is spread over processes.

    Attributes:
        address: local, auto, or the address of a Ray cluster; null means auto inside a Ray job and local elsewhere.
        max_actors: The most client actors. All are requested, so that an autoscaler starts nodes for those without
            room. Null fills the CPUs and GPUs that are there, also those that join during the run.
        clients_per_actor: Clients that one actor trains per round; 1 is an actor per client. Null: any number.
        num_cpus: CPUs an actor reserves.
        num_gpus: GPU share of an actor that holds the whole model; shallower tiers take smaller fractions.
        tier_labels: Kinds of nodes by capacity: the most layers that are trained there, and the value of the nodes'
            Ray label `tier`. {4: small, 12: large} trains clients of up to 4 layers on nodes labelled tier=small, and
            larger ones on tier=large. Empty: any node.
        max_attempts: How often a client's training, an evaluation or a lost server is tried again.
        task_timeout: Seconds after which a call of an actor counts as hanging; null derives them from the measured
            speed.
        wait_s: Seconds for which nothing may go on but waiting for actors that have not started, or for a submitted job
            that has not; then the command ends with exit code 1. Null: for ever.
    """

    address: str | None = None
    max_actors: int | None = setting(None, minimum=1)
    clients_per_actor: int | None = setting(None, minimum=1)
    num_cpus: float = setting(1.0, above=0)
    num_gpus: float = 0.0
    tier_labels: dict[int, str] = field(default_factory=dict)  # null could not be merged with a mapping
    max_attempts: int = setting(3, minimum=1)
    task_timeout: float | None = setting(None, above=0)
    wait_s: float | None = setting(1800.0, above=0)


@dataclass
class CheckpointConfig:
    """Write a restart point every `every` rounds; keep the newest `keep`."""

    every: int = setting(10, minimum=1)
    keep: int = setting(2, minimum=1)


@dataclass
class WatchConfig:
    """Where every round is reported, besides the terminal and the run_dir.

    Attributes:
        tensorboard: Write TensorBoard's event files to `tensorboard` in the run_dir, which must be a local folder.
        wandb: Project of Weights & Biases to report to; null for none. A run_dir is one run there, even when it is
            resumed. Without a network: WANDB_MODE=offline.
    """

    tensorboard: bool = False
    wandb: str | None = None
