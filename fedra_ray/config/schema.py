"""The typed configuration of an experiment.

The YAML files in conf/ fill these dataclasses. Unknown keys and wrong types are refused when the configuration is
composed; fedra_ray.checks refuses values that cannot work.
"""

from dataclasses import dataclass, field
from typing import Any

_FEDRA = "fedra_ray.methods.fedra.FedRA"


@dataclass
class MethodConfig:
    """Which federated method runs.

    Attributes:
        name: What folders and settings call it.
        target: Dotted path of the `Method` subclass, one of this package's or the user's own.
        label: What tables and figures call it; null takes the name.
        options: Keyword arguments of that class.
    """

    name: str
    target: str
    label: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptimizerConfig:
    """What is put around the method: another client optimiser (ClientOpt) or server optimiser (ServerOpt).

    Attributes:
        name: What folders and settings call it.
        label: What tables and figures add to the method's label; null for nothing.
        target: Dotted path of the `Wrapper` subclass; null leaves the method as it is.
        options: Keyword arguments of that class.
    """

    name: str
    label: str | None = None
    target: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class DatasetConfig:
    """Where the images are.

    Attributes:
        name: How tables call it.
        target: Dotted path of the `Dataset` subclass.
        root: File, folder or pyarrow.fs URI (s3://, gs://); `asset://NAME` is a file shipped with the package.
        options: Further keyword arguments of that class.
        on_error: What to do with an image that is missing or cannot be decoded: fail, or skip it and count it.
        cache: Folder on every node in which its actors keep decoded images for each other and for later runs; null
            keeps them in each actor's own memory. Empty it when images change under the same root.
        memory_mb: Bound on an actor's own decoded images without `cache`; what does not fit is decoded each time.
    """

    name: str = "glyphs"
    target: str = "fedra_ray.data.parquet.ParquetDataset"
    root: str = "asset://glyphs.parquet"
    options: dict[str, Any] = field(default_factory=dict)
    on_error: str = "fail"
    cache: str | None = None
    memory_mb: int = 1024


@dataclass
class BackboneConfig:
    """The frozen pre-trained model.

    Attributes:
        name: How tables call it.
        model: A timm model name, or a class below `timm.models`.
        model_args: Keyword arguments for it.
        pretrained: Fetch timm's weights from the hub, unless `checkpoint` names a file.
        checkpoint: A safetensors or torch file of the model's state dict; `asset://NAME` is one shipped here.
        mean: Per-channel mean of the normalisation, for pixel values in [0, 1]; null takes the checkpoint's own: of
            a timm config.json beside the file, else of timm's entry for the model.
        std: Per-channel standard deviation of the same.
    """

    name: str = "glyph_vit"
    model: str = "vit_tiny_patch16_224"
    model_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    checkpoint: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None


@dataclass
class DeviceConfig:
    """What a simulated device sustains: its profile. Those of conf/devices.yaml have names that `fleet.devices` knows.

    Attributes:
        gflops: Arithmetic in training, in 10^9 FLOPs a second: far below what a data sheet calls peak.
        download_mbps: What it receives, in 10^6 bits a second.
        upload_mbps: What it sends, in the same.
        memory_mb: Memory that training may take, in 10^6 bytes.
        source: Where the numbers come from.
    """

    gflops: float
    download_mbps: float
    upload_mbps: float
    memory_mb: float
    source: str = ""


@dataclass
class FleetConfig:
    """The clients. Client k belongs to domain k mod D and has depth `depths[k mod len(depths)]`.

    Attributes:
        depths: How many blocks a client can hold, in the order of the domains.
        memory_mb: Memory for training of each client, in the same order; where given, `depths` follow from it.
        dynamic: Draw every client's depth anew each round, from `depths`.
        probabilities: Of each of `depths` in such a draw; null makes them equal.
        num_clients: Size of the whole fleet.
        clients_per_round: Size of a round's cohort; null takes every client, or one per domain.
        sampling: How a cohort is drawn without replacement: uniform, or per_domain with equally many of each domain.
        dropout: Probability that a sampled client does not answer in a round.
        straggler_spread: Spread of the clients' times: their logarithm's standard deviation, drawn anew each round.
        round_deadline: Updates that take longer than this many times the median client's time (of the cohort's, with
            `devices`) are discarded; null waits for all.
        devices: Names of the clients' device profiles, dealt as `depths` are, which they do not change; client k has
            devices[k mod len(devices)]. With them every client and round gets a simulated time. Null: none is.
        profiles: Further device profiles by name, or other numbers for those of conf/devices.yaml.
    """

    depths: list[int] = field(default_factory=lambda: [12, 10, 8, 6, 4, 3])
    memory_mb: list[float] | None = None
    dynamic: bool = False
    probabilities: list[float] | None = None
    num_clients: int = 6
    clients_per_round: int | None = None
    sampling: str = "uniform"
    dropout: float = 0.0
    straggler_spread: float = 0.0
    round_deadline: float | None = None
    devices: list[str] | None = None
    profiles: dict[str, DeviceConfig] = field(default_factory=dict)


@dataclass
class PartitionConfig:
    """How the training images are divided among the clients.

    Attributes:
        name: How tables call it.
        scheme: domain divides each domain among its clients by Dirichlet shares of every class; shards cuts each
            domain, sorted by label, into equal shards and deals them out; iid divides all domains' images uniformly;
            lazy draws a client's images from its domain when the client is sampled, by (seed, client) alone and with
            class proportions of its own: for any number of clients, who may share images.
        alpha: Dirichlet concentration of domain and lazy (large: no label skew).
        shards_per_client: How many shards a client gets.
        min_size: Least number of images of a client; the richest ones give to those below it.
        examples_per_client: How many images a client of lazy gets, or all of its domain if that has fewer.
    """

    name: str = "feature_skew"
    scheme: str = "domain"
    alpha: float = 100.0
    shards_per_client: int = 2
    min_size: int = 1
    examples_per_client: int = 32


@dataclass
class TrainingConfig:
    """A client's local training: SGD with a fresh optimiser each round.

    Attributes:
        lr: Learning rate of the LoRA factors.
        head_lr: Learning rate of the head.
        momentum: SGD momentum.
        weight_decay: SGD weight decay.
        batch_size: Images a step.
        local_epochs: Passes over the client's data each round.
        max_steps: Upper bound on a round's local steps; null for none.
        step_cap: A further bound, the steps of the smallest client of the cohort or of the whole fleet; none for none.
        extra_step: Allow one step more than `step_cap` (the authors' code does).
        clip_norm: Bound on the global gradient norm; null for none.
        precision: fp32, or bf16: frozen weights and activations are bfloat16, what is trained stays float32, and
            evaluation is fp32.
    """

    lr: float = 0.01
    head_lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-5
    batch_size: int = 32
    local_epochs: int = 1
    max_steps: int | None = None
    step_cap: str = "none"
    extra_step: bool = False
    clip_norm: float | None = 10.0
    precision: str = "fp32"


@dataclass
class LoraConfig:
    """The adapter.

    Attributes:
        rank: Of both factors.
        alpha: The product of the factors counts alpha / rank times.
        dropout: Probability that a value before the factors is left out, to the nearest multiple of 2^-16.
        targets: Module paths inside a block; null takes the usual ones of the model's family.
        patch_embedding: Adapt the patch embedding's projection too, averaged only in rounds that have client 0 (an
            oddity of the authors' code).
    """

    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    targets: list[str] | None = None
    patch_embedding: bool = False


@dataclass
class AggregationConfig:
    """How updates are averaged.

    Attributes:
        weighting: uniform (the authors' code) or examples (weighted by each client's number of images).
        max_norm: Updates that change the client's values by more than this L2 norm are rejected; null for no bound.
    """

    weighting: str = "uniform"
    max_norm: float | None = None


@dataclass
class EvaluationConfig:
    """Evaluate the global model on `split` every `every` rounds and after the last one."""

    every: int = 20
    batch_size: int = 256
    split: str = "test"


@dataclass
class CheckpointConfig:
    """Write a restart point every `every` rounds; keep the newest `keep`."""

    every: int = 10
    keep: int = 2


@dataclass
class RuntimeConfig:
    """How the simulation is spread over processes. Never changes a result.

    Attributes:
        address: local, auto, or the address of a Ray cluster; null means auto inside a Ray job and local elsewhere.
        max_actors: Most client actors; so many are asked for, so that an autoscaler starts nodes for those without
            room. Null fills the CPUs and GPUs that are there, during the run too.
        clients_per_actor: Clients one actor trains in a round; 1 is an actor per client. Null: any number.
        num_cpus: CPUs an actor reserves.
        num_gpus: GPU share of an actor that holds the whole model; shallower tiers take smaller fractions.
        tier_labels: Kinds of nodes by capacity: the most layers that are trained there, and the value of the nodes'
            Ray label `tier`. {4: small, 12: large} trains clients of up to 4 layers on nodes labelled tier=small, and
            larger ones on tier=large. Null: any node.
        max_attempts: How often a client's training, an evaluation or a lost server is tried again.
        task_timeout: Seconds after which a call of an actor counts as hanging; null goes by the measured speed.
    """

    address: str | None = None
    max_actors: int | None = None
    clients_per_actor: int | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    tier_labels: dict[int, str] | None = None
    max_attempts: int = 3
    task_timeout: float | None = None


@dataclass
class WatchConfig:
    """Who else is told of every round. Never changes a result.

    Attributes:
        tensorboard: Write TensorBoard's event files to `tensorboard` in the run_dir, which must be a local folder.
        wandb: Project of Weights & Biases to report to; null for none. A run_dir is one run there, also when it is
            taken up again. Without a network: WANDB_MODE=offline.
    """

    tensorboard: bool = False
    wandb: str | None = None


@dataclass
class ExperimentConfig:
    """Everything that defines a run.

    Attributes:
        on_client_failure: What a client that fails on every attempt does to the run: fail ends it, drop goes on
            without the client's update and says so.
        resume: What a run_dir that holds an unfinished run of another configuration leads to: auto refuses, force goes
            on with the new one.
    """

    method: MethodConfig = field(
        default_factory=lambda: MethodConfig("fedra", "fedra_ray.methods.fedra.FedRA", "FedRA")
    )
    client_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("sgd"))
    server_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("fedavg"))
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    fleet: FleetConfig = field(default_factory=FleetConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    on_client_failure: str = "fail"
    resume: str = "auto"
    rounds: int = 40
    seed: int = 0
    run_dir: str = "runs/latest"
