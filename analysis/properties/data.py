"""A data set's splits in memory, as a run reads and normalises them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedra_ray.config.schema import BackboneConfig, DatasetConfig
from fedra_ray.data.dataset import SPLITS, open_dataset
from fedra_ray.model.backbone import normalisation


@dataclass(frozen=True)
class Split:
    """Normalised images (n, 3, side, side) or features (n, width), labels (n,) and domains (n,) of one split."""

    images: Tensor
    labels: Tensor
    domains: Tensor

    def of_domain(self, index: int) -> "Split":
        """The part of one domain."""
        mask = self.domains == index
        return Split(self.images[mask], self.labels[mask], self.domains[mask])

    def mean_accuracy(self, predicted: Tensor) -> float:
        """Accuracy in [0, 1] of predicted classes (n,), averaged over the domains present."""
        hits = (predicted == self.labels).float()
        return float(np.mean([hits[self.domains == domain].mean().item() for domain in self.domains.unique()]))


@dataclass(frozen=True)
class Data:
    """The splits of a data set by name, and the names of its domains and classes."""

    splits: dict[str, Split]
    domains: tuple[str, ...]
    classes: tuple[str, ...]


def load_data(dataset: DatasetConfig, backbone: BackboneConfig, side: int) -> Data:
    """Every image of a data set, of this side in pixels and normalised for a backbone.

    Raises:
        SettingError: if the data set cannot be opened, or has no validation images to choose settings on.
        ImageError: for an image that cannot be read.
    """
    opened = open_dataset(dataset, side)
    mean, std = normalisation(backbone)
    splits = {}
    for split in SPLITS:
        images, labels, domains = [], [], []
        for number, domain in enumerate(opened.domains):
            known = opened.labels(domain, split)
            pixels = torch.from_numpy(opened.images(domain, split, np.arange(len(known)))).float()
            images.append((pixels / 255 - mean) / std)
            labels.append(torch.from_numpy(known.astype(np.int64)))
            domains.append(torch.full((len(known),), number))
        splits[split] = Split(torch.cat(images), torch.cat(labels), torch.cat(domains))
    return Data(splits, tuple(opened.domains), tuple(opened.classes))
