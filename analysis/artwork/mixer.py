"""An MLP-Mixer that starts from a ViT of its width and depth.

Patches and the MLPs of the channels are the ViT's. What mixes tokens has no counterpart there: it starts at timm's
first values, with outputs of zero, as if the ViT's attention were left out.
"""

from typing import Any

import torch
from torch import Tensor, nn

MODEL = "timm.models.mlp_mixer.MlpMixer"
MODEL_ARGS = {"img_size": 60, "patch_size": 10, "num_blocks": 12, "embed_dim": 192}


@torch.no_grad()
def start_from(vit: nn.Module, mixer: nn.Module) -> None:
    """Give a Mixer what a ViT of the same patches, width and depth knows.

    Args:
        vit: A timm ViT without LayerScale.
        mixer: A timm MLP-Mixer; changed.
    """
    known: dict[str, Tensor] = vit.state_dict()
    own: dict[str, Any] = mixer.state_dict()
    prefix = vit.num_prefix_tokens
    own["stem.proj.weight"].copy_(known["patch_embed.proj.weight"])
    own["stem.proj.bias"].copy_(known["patch_embed.proj.bias"] + known["pos_embed"][0, prefix:].mean(0))
    for name, value in own.items():
        if ".mlp_tokens.fc2." in name:
            value.zero_()
        elif ".norm2." in name or ".mlp_channels." in name or name.startswith("norm."):
            value.copy_(known[name.replace("mlp_channels", "mlp")])
