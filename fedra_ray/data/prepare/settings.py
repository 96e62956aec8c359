"""The settings of `fedra-ray prepare`."""

from dataclasses import dataclass, field

from fedra_ray.config.bounds import setting
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import LANGUAGE, DatasetConfig
from fedra_ray.config.validation import check_bounds, check_sizes, check_types

FORMATS = ("jpeg", "png")
_OF_TEXTS = ("max_length",)
_OF_IMAGES = ("image_size", "format", "quality", "shard_images", "group_images", "address", "wait_s")


@dataclass
class PrepareConfig:
    """What to prepare, and how.

    Attributes:
        dataset: The data set to read.
        out: Folder for the shards: a path or a pyarrow.fs URI.
        image_size: Side of the stored images in pixels; with the backbone's input size, runs resize nothing.
        format: jpeg, or png to keep every bit.
        quality: Quality of jpeg, from 1 to 100.
        shard_images: Images per shard.
        group_images: Images per row group, the least that a run reads at once.
        tokenizer: For texts, the language model whose tokenizer makes their tokens, as backbone.model names it
            (hf:NAME_OR_FOLDER); null for images.
        max_length: The most tokens of a text.
        address: local, auto, or the address of a Ray cluster; null means auto inside a Ray job and local elsewhere.
        wait_s: Seconds for which no node may have the CPU that writing a shard takes; null for ever.
    """

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    out: str = ""
    image_size: int = setting(224, minimum=1, maximum=4096)
    format: str = setting("jpeg", choices=FORMATS)
    quality: int = setting(95, minimum=1, maximum=100)
    shard_images: int = setting(2048, minimum=1)
    group_images: int = setting(64, minimum=1)
    tokenizer: str | None = None
    max_length: int = setting(128, minimum=2)
    address: str | None = None
    wait_s: float | None = setting(1800.0, above=0)


def check(config: PrepareConfig) -> None:
    """Refuse values that cannot work.

    Raises:
        SettingError: for the first such value.
    """
    if not config.out:
        raise SettingError("out", config.out, "name a folder or a pyarrow.fs URI for the shards")
    check_types(config)
    check_bounds(config)
    check_sizes(config)
    for name in _OF_TEXTS if config.tokenizer is None else _OF_IMAGES:
        value, usual = getattr(config, name), getattr(PrepareConfig, name)
        if value != usual:
            kind = (
                "texts, which need tokenizer=hf:..." if config.tokenizer is None else "images; texts have a tokenizer"
            )
            raise SettingError(name, value, f"is for {kind}")
    if config.tokenizer is not None and not config.tokenizer.startswith(LANGUAGE):
        raise SettingError("tokenizer", config.tokenizer, f"must be {LANGUAGE}NAME_OR_FOLDER, as backbone.model")
    if config.dataset.resize != DatasetConfig.resize:
        allowed = "shards hold whole numbers of 0 to 255; prepare with antialias, or let runs read the original images"
        raise SettingError("dataset.resize", config.dataset.resize, allowed)
