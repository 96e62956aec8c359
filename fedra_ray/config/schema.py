"""The typed configuration of an experiment: every setting with its meaning, its default and its bounds.

`ExperimentConfig()` is the default experiment of the command line, but for its run_dir, which has a time stamp there.
The YAML files in conf/ state only what makes another choice. Unknown keys and wrong types are refused when the
configuration is composed; `fedra_ray.config.checks` refuses values that cannot work. Further sections lie beside.
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
LANGUAGE = "hf:"  # what backbone.model begins with for a model of transformers


@dataclass
class MethodConfig:
    """The federated method.

    Attributes:
        name: Its name in folders and settings.
        target: Dotted path of the `Method` subclass, one of this package's or the user's own.
        label: Its name in tables and figures; null takes `name`.
        options: Keyword arguments of that class.
    """

    name: str
    target: str
    label: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class WrapperConfig:
    """What is put around the method: how other blocks are run, how factors are averaged, another optimiser.

    Attributes:
        name: Its name in folders and settings.
        label: What tables and figures add to the method's label; null adds nothing.
        target: Dotted path of the `Wrapper` subclass; null leaves the method as it is.
        options: Keyword arguments of that class.
    """

    name: str
    label: str | None = None
    target: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class DatasetConfig:
    """The images, and how they are read.

    Attributes:
        name: Its name in tables.
        target: Dotted path of the `Dataset` subclass.
        root: File, folder or pyarrow.fs URI (s3://, gs://); `asset://NAME` is a file shipped with the package.
        options: Further keyword arguments of that class.
        resize: How images come to the backbone's input size: antialias is Pillow's bicubic filter on 8-bit pixels;
            authors is that of FedRA's code, bicubic, not antialiased and not clamped, with four times the memory.
        on_error: What to do with an image that is missing or cannot be decoded: fail, or skip it and count it.
        cache: Folder on every node in which its actors keep decoded images for each other and for later runs; null
            keeps them in each actor's own memory. Images that have changed since are decoded anew.
        memory_mb: Bound on an actor's own decoded images without `cache`; what does not fit is decoded each time.
    """

    name: str = "glyphs"
    target: str = "fedra_ray.data.parquet.ParquetDataset"
    root: str = "asset://glyphs.parquet"
    options: dict[str, Any] = field(default_factory=dict)
    resize: str = setting("antialias", choices=("antialias", "authors"))
    on_error: str = setting("fail", choices=("fail", "skip"))
    cache: str | None = None
    memory_mb: int = setting(1024, minimum=0)


@dataclass
class BackboneConfig:
    """The frozen pre-trained model; by itself timm's smallest ViT, without weights. An experiment has `glyph_vit()`.

    Attributes:
        name: Its name in tables.
        model: A timm model name, or the dotted path of a class below `timm.models`; or `hf:` and the folder or hub
            name of a language model of transformers: config.json, safetensors, tokenizer.json.
        model_args: Keyword arguments of the model; of a language model, entries of its config.json.
        pretrained: Fetch timm's weights from the hub, unless `checkpoint` names a file.
        checkpoint: A safetensors or torch file of the model's state dict; `asset://NAME` is one shipped here. Of a
            language model, another folder to read its weights from.
        mean: Per-channel mean of the normalisation, for pixel values in [0, 1]; null takes the checkpoint's own: of
            a timm config.json beside the file, else of timm's entry for the model.
        std: Per-channel standard deviation of the normalisation; null takes the checkpoint's own, likewise.
        pooling: Which tokens' mean a head reads, of a language model: the first ([CLS]), mean (all of them) or the
            last; null takes the first of an encoder and the last of a decoder.
        max_length: Most tokens of a language model's text; longer ones are cut. Null takes 128, or all its positions.
        head: trained: a linear one over the classes; own: a decoder's frozen one, which is tuned on answers to prompts.
        quantization: int8 or nf4 (bitsandbytes), for the linear layers of a language model's blocks; null for none.
    """

    name: str = "vit_tiny"
    model: str = "vit_tiny_patch16_224"
    model_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    checkpoint: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    pooling: str | None = setting(None, choices=("first", "mean", "last"))
    max_length: int | None = setting(None, minimum=2)
    head: str = setting("trained", choices=("trained", "own"))
    quantization: str | None = setting(None, choices=("int8", "nf4"))

    @property
    def source(self) -> str | None:
        """The folder or the hub's name of a language model; None for a model of timm."""
        return self.model.removeprefix(LANGUAGE) if self.model.startswith(LANGUAGE) else None


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
        name: Its name in tables.
        scheme: domain divides each domain among its clients by Dirichlet shares of every class; shards cuts each
            domain, sorted by label, into equal shards and deals them out; iid divides all domains' images uniformly;
            lazy draws a client's images from its domain when the client is sampled, by (seed, client) alone and with
            class proportions of its own: for any number of clients, who may share images.
        alpha: Dirichlet concentration of domain and lazy (large: no label skew).
        shards_per_client: How many shards a client gets.
        balanced: Give no more of a class to a client that already has its part of the domain, 1/n of the images, and
            draw again until everybody has `min_size` (as the authors' code does); for domain.
        min_size: Least number of images of a client; unless `balanced`, the richest ones give to those below it.
        examples_per_client: How many images a client of lazy gets, or all of its domain if that has fewer.
    """

    name: str = "feature_skew"
    scheme: str = setting("domain", choices=("domain", "shards", "iid", "lazy"))
    alpha: float = setting(100.0, above=0)
    balanced: bool = False
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
        step_cap: A further bound: the steps of the smallest client of the cohort, or of the whole fleet; none sets no
            such bound.
        extra_step: Allow one step more than `step_cap` (the authors' code does).
        cap_per_epoch: Cut every local epoch at `step_cap`, instead of all of them together; with several epochs only.
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
    cap_per_epoch: bool = False
    clip_norm: float | None = setting(10.0, above=0)
    precision: str = setting("fp32", choices=("fp32", "bf16"))


@dataclass
class LoraConfig:
    """The adapter.

    Attributes:
        rank: Rank of both factors.
        alpha: The product of the factors is scaled by alpha / rank.
        dropout: Probability that a value before the factors is left out, to the nearest multiple of 2^-16.
        targets: Module paths inside a block; null takes the usual ones of the model's family: attn.proj and mlp.fc2 of
            a ViT, mlp_tokens.fc2 and mlp_channels.fc2 of a Mixer.
        ranks: The rank of clients by the number of blocks that they train, where it is less than `rank`: they train
            the first rows of A and columns of B, and send zeros for the others. Clients of other depths have all ranks.
        patch_embedding: Adapt the patch embedding's projection too, as the authors' code does (a convolution's).
        head_init: What heads are at first: zero, or uniform in +-1/sqrt(features), as a linear layer is by default. A
            zero head passes no gradient to LoRA in the first step.
    """

    rank: int = setting(8, minimum=1, maximum=4096)  # the width of the largest models
    alpha: float = setting(24.0, above=0)
    dropout: float = setting(0.0, fraction=True)
    targets: list[str] | None = None
    ranks: dict[int, int] = field(default_factory=dict)  # null could not be merged with a mapping
    patch_embedding: bool = False
    head_init: str = setting("zero", choices=("zero", "uniform"))


@dataclass
class AggregationConfig:
    """How updates are averaged.

    Attributes:
        weighting: uniform (the authors' code) or examples (weighted by each client's number of images).
        patch_embedding: When LoRA of the patch embedding is averaged, if there is any: always, or client_0, only in
            rounds that have client 0 (an oddity of the authors' code of FedRA).
        max_norm: Updates that change the client's values by more than this L2 norm are rejected; null for no bound.
    """

    weighting: str = setting("uniform", choices=("uniform", "examples"))
    patch_embedding: str = setting("always", choices=("always", "client_0"))
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
        on_client_failure: What happens if a client fails on every attempt: fail ends the run, drop goes on without the
            client's update and says so.
        resume: What happens if run_dir holds an unfinished run of another configuration: auto refuses, force goes on
            with the new one.
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
