import pytest
import torch
from torch import nn

from fedra_ray.model.backbone import create_model
from fedra_ray.model.blank import Blank

SHALLOW = {name: {"depth": 2} for name in ("vit_tiny_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224")}
WHOLE: dict[str, dict[str, int]] = {name: {} for name in ("mixer_s32_224", "resmlp_12_224")}


@pytest.mark.parametrize(("name", "arguments"), (SHALLOW | WHOLE).items())
def test_a_blank_model_is_the_drawn_one_once_its_weights_are_replaced(name: str, arguments: dict[str, int]) -> None:
    drawn = create_model(name, arguments).eval()
    with Blank():
        blank = create_model(name, arguments).eval()
    blank.load_state_dict(drawn.state_dict())
    images = torch.rand(1, 3, 224, 224)
    assert torch.equal(blank(images), drawn(images))


def test_nothing_is_drawn_for_a_blank_model_and_what_is_no_drawing_is_done() -> None:
    state = torch.get_rng_state()
    with Blank():
        create_model("vit_tiny_patch16_224", {"depth": 2, "init_values": 0.5})
        nn.init.normal_(tensor=torch.empty(3))
        filled = nn.init.constant_(torch.empty(3), 2.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert filled.tolist() == [2.0, 2.0, 2.0]
    torch.empty(3).uniform_()
    assert not torch.equal(torch.get_rng_state(), state)  # outside it, they are drawn again
