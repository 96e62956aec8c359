import copy
from collections.abc import Callable

import pytest
import torch

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.stack import check_stack

Plain = Callable[..., torch.nn.Module]


def test_a_plain_stack_is_accepted(backbone_config: BackboneConfig, plain_model: Plain) -> None:
    check_stack(plain_model(backbone_config, range(4), num_classes=0), backbone_config.model, 16)


def test_a_model_that_treats_its_blocks_otherwise_is_refused(vit_config: BackboneConfig, plain_model: Plain) -> None:
    class Backwards(type(plain_model(vit_config, range(4)))):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norm_pre(self._pos_embed(self.patch_embed(x)))
            for block in reversed(self.blocks):
                x = block(x)
            return self.norm(x)

    model = copy.deepcopy(plain_model(vit_config, range(4), num_classes=0))
    model.__class__ = Backwards
    with pytest.raises(SettingError, match="backwards: must be a stem, exchangeable residual blocks in a row"):
        check_stack(model, "backwards", 16)
