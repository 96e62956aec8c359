"""The typed configuration of an experiment: every setting with its meaning, its default and its bounds.

`ExperimentConfig()` is the default experiment of the command line, but for its run_dir, which has a time stamp there.
The YAML files in conf/ state only what makes another choice. Unknown keys and wrong types are refused when the
configuration is composed; `fedra_ray.config.checks` refuses values that cannot work. The sections of the fleet and of
how a run is carried out are in fleet.py and execution.py beside this file.
"""

from dataclasses import dataclass, field
from typing import Any

from fedra_ray.config.bounds import setting
from fedra_ray.config.execution import CheckpointConfig, RuntimeConfig, WatchConfig
from fedra_ray.config.fleet import DeviceConfig, FleetConfig

__all__ = [
    "AggregationConfig",
    "BackboneConfig",
    "CheckpointConfig",
    "DatasetConfig",
    "DeviceConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FleetConfig",
    "LoraConfig",
    "MethodConfig",
    "PartitionConfig",
    "RuntimeConfig",
    "TrainingConfig",
    "WatchConfig",
    "WrapperConfig",
]

#: The sections that put something around the method, the innermost first.
WRAPPERS = ("submodel", "lora_aggregation", "client_optimizer", "server_optimizer")


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
class WrapperConfig:
    """What is put around the method: how absent blocks are run, how factors are averaged, another optimiser.

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
    on_error: str = setting("fail", choices=("fail", "skip"))
    cache: str | None = None
    memory_mb: int = setting(1024, minimum=0)


@dataclass
class BackboneConfig:
    """The frozen pre-trained model; by itself timm's smallest ViT, without weights. An experiment has `glyph_vit()`.

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

    name: str = "vit_tiny"
    model: str = "vit_tiny_patch16_224"
    model_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    checkpoint: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None


def fedra() -> MethodConfig:
    """The method of the default experiment."""
    return MethodConfig("fedra", "fedra_ray.methods.fedra.FedRA", "FedRA", {"draw": "uniform"})


def glyph_vit() -> BackboneConfig:
    """The backbone of the default experiment, whose weights are shipped with the package."""
    return BackboneConfig(
        name="glyph_vit",
        model="vit_tiny_patch16_224",
        model_args={"img_size": 32, "patch_size": 8, "embed_dim": 96, "num_heads": 3},
        checkpoint="asset://glyph_vit.safetensors",
        mean=[0.5, 0.5, 0.5],
        std=[0.5, 0.5, 0.5],
    )


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
    scheme: str = setting("domain", choices=("domain", "shards", "iid", "lazy"))
    alpha: float = setting(100.0, above=0)
    shards_per_client: int = setting(2, minimum=1, maximum=10_000)
    min_size: int = setting(1, minimum=1)
    examples_per_client: int = setting(32, minimum=1)


@dataclass
class TrainingConfig:
    """A client's local training: SGD with a fresh optimiser each round.

    Attributes:
        lr: Learning rate of the LoRA factors.
        head_lr: Learning rate of the head.
        momentum: SGD momentum.
        weight_decay: SGD weight decay.
        batch_size: Images per step.
        local_epochs: Passes over the client's data each round.
        max_steps: Upper bound on a round's local steps; null for none.
        step_cap: A further bound, the steps of the smallest client of the cohort or of the whole fleet; none for none.
        extra_step: Allow one step more than `step_cap` (the authors' code does).
        clip_norm: Bound on the global gradient norm; null for none.
        precision: fp32, or bf16: frozen weights and activations are bfloat16, what is trained stays float32, and
            evaluation is fp32.
    """

    lr: float = setting(0.03, above=0)
    head_lr: float = setting(0.03, above=0)
    momentum: float = setting(0.9, fraction=True)
    weight_decay: float = setting(1e-5, minimum=0)
    batch_size: int = setting(32, minimum=1)
    local_epochs: int = setting(1, minimum=1, maximum=10_000)
    max_steps: int | None = setting(5, minimum=1)
    step_cap: str = setting("none", choices=("none", "cohort", "fleet"))
    extra_step: bool = False
    clip_norm: float | None = setting(10.0, above=0)
    precision: str = setting("fp32", choices=("fp32", "bf16"))


@dataclass
class LoraConfig:
    """The adapter.

    Attributes:
        rank: Of both factors.
        alpha: The product of the factors counts alpha / rank times.
        dropout: Probability that a value before the factors is left out, to the nearest multiple of 2^-16.
        targets: Module paths inside a block; null takes the usual ones of the model's family: attn.proj and mlp.fc2 of
            a ViT, mlp_tokens.fc2 and mlp_channels.fc2 of a Mixer.
        ranks: The rank of clients by the number of blocks that they train, where it is less than `rank`: they train
            the first rows of A and columns of B, and send zeros for the others. Null: all clients have all ranks.
        patch_embedding: Adapt the patch embedding's projection too, averaged only in rounds that have client 0 (an
            oddity of the authors' code).
    """

    rank: int = setting(8, minimum=1, maximum=4096)  # the width of the largest models
    alpha: float = setting(24.0, above=0)
    dropout: float = setting(0.0, fraction=True)
    targets: list[str] | None = None
    ranks: dict[int, int] | None = None
    patch_embedding: bool = False


@dataclass
class AggregationConfig:
    """How updates are averaged.

    Attributes:
        weighting: uniform (the authors' code) or examples (weighted by each client's number of images).
        max_norm: Updates that change the client's values by more than this L2 norm are rejected; null for no bound.
    """

    weighting: str = setting("uniform", choices=("uniform", "examples"))
    max_norm: float | None = setting(None, above=0)


@dataclass
class EvaluationConfig:
    """Evaluate the global model on `split` every `every` rounds and after the last one."""

    every: int = setting(20, minimum=1)
    batch_size: int = setting(256, minimum=1)
    split: str = setting("test", choices=("validation", "test"))


@dataclass
class ExperimentConfig:
    """Everything that defines a run.

    Attributes:
        on_client_failure: What a client that fails on every attempt does to the run: fail ends it, drop goes on
            without the client's update and says so.
        resume: What a run_dir that holds an unfinished run of another configuration leads to: auto refuses, force goes
            on with the new one.
    """

    method: MethodConfig = field(default_factory=fedra)
    submodel: WrapperConfig = field(default_factory=lambda: WrapperConfig("absent"))
    lora_aggregation: WrapperConfig = field(default_factory=lambda: WrapperConfig("fedit"))
    client_optimizer: WrapperConfig = field(default_factory=lambda: WrapperConfig("sgd"))
    server_optimizer: WrapperConfig = field(default_factory=lambda: WrapperConfig("fedavg"))
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    backbone: BackboneConfig = field(default_factory=glyph_vit)
    fleet: FleetConfig = field(default_factory=FleetConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    on_client_failure: str = setting("fail", choices=("fail", "drop"))
    resume: str = setting("auto", choices=("auto", "force"))
    rounds: int = setting(40, minimum=1, maximum=999_999)  # names of restart points have six digits
    seed: int = setting(0, minimum=0)
    run_dir: str = "runs/latest"
