"""The data set that a backbone takes: images, or texts for a language model. Loads no model."""

from fedra_ray.config.schema import BackboneConfig, DatasetConfig
from fedra_ray.data.dataset import Labelled, open_dataset
from fedra_ray.data.text.dataset import open_texts


def open_labelled(config: DatasetConfig, backbone: BackboneConfig, input_size: int) -> Labelled:
    """The configured data set.

    Args:
        config: Its class, root and options.
        backbone: Says whether it takes images or texts.
        input_size: Side of an image in pixels, or tokens of the longest text.

    Raises:
        SettingError: if the target is no data set of that kind, its options do not fit, or its root cannot be read.
    """
    if backbone.source is not None:
        return open_texts(config, backbone, input_size)
    return open_dataset(config, input_size)
