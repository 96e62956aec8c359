"""A sub-model is a list of block indices over one shared stack: the chosen blocks of a frozen backbone, with LoRA.

No module is built or copied when the choice changes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import LoraConfig
from fedra_ray.model.fused import Noise, first_token, fuse, reads_first_token
from fedra_ray.model.lora import LoraConv2d, LoraLinear
from fedra_ray.model.merging import cosines, merged_block
from fedra_ray.model.segments import layout_of, named
from fedra_ray.model.stack import BlockInputs, Stem
from fedra_ray.model.text.last_block import all_read, is_shortened, read_tokens
from fedra_ray.model.text.stack import TextStack, marked, marked_mean

Inputs = Tensor | Mapping[str, Tensor]


class Batch(NamedTuple):
    """Some examples.

    Attributes:
        inputs: What a model's stem takes: normalised images (n, 3, H, W); or tensors by name, of a language model
            `input_ids` and `attention_mask` (n, tokens), and, with its own head, `answers`: which tokens stand before
            one of an answer.
        labels: Their classes (n,); or the tokens of all answers (answer tokens,), one after another.
    """

    inputs: Inputs
    labels: Tensor


class SubModel(nn.Module):
    """A frozen backbone with LoRA in every block and linear heads, run through any choice of its blocks.

    Args:
        backbone: A frozen model that `check_stack` accepts; it is changed in place.
        targets: Module paths inside a block.
        lora: Rank, alpha and dropout, and whether the patch embedding is adapted too.
        head_names: Names of the heads.
        num_classes: Outputs of each head, but for a language model's own one, which is frozen: then heads are names of
            it, and have no values.
        fused: Compute by `fedra_ray.model.fused` what it can, with the same results up to rounding.
        extras: Further modules that are trained, by the names of their segments.
        changes_weights: Whether the flat vector also has a change of every adapted weight, added to it by `load`.

    Attributes:
        layout: How the trained tensors lie in the flat vector that travels.
        extras: The further modules.
        held: The segments that `load` marked as trained, each as one flat parameter, in the order of the layout. They
            share the memory of the model's own parameters, and so do their gradients: zero these in place.
        gradients: The gradients of `held`.

    Raises:
        SettingError: if the patch embedding is to be adapted and the backbone has none of the ViT's kind.
    """

    def __init__(
        self,
        backbone: nn.Module,
        targets: Sequence[str],
        lora: LoraConfig,
        head_names: Sequence[str],
        num_classes: int,
        fused: bool = True,
        extras: Mapping[str, nn.Module] | None = None,
        changes_weights: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        for block in self.blocks:
            for target in targets:
                block.set_submodule(target, LoraLinear(cast(nn.Linear, block.get_submodule(target)), lora))
        if lora.patch_embedding:
            _adapt_patch_embedding(backbone, lora)
        self._noise = Noise()
        if fused:
            for block in self.blocks:
                fuse(block, self._noise)
        self._first_token_only = fused and reads_first_token(backbone)
        self._in_rows = fused and isinstance(backbone, TextStack)
        self._shortened = fused and isinstance(backbone, TextStack) and is_shortened(backbone)
        self._stem = Stem(backbone)
        features = int(cast(int, backbone.num_features))
        trained = () if self.own_head else head_names
        self.heads = nn.ModuleDict({name: nn.Linear(features, num_classes) for name in trained})
        self.extras = nn.ModuleDict(dict(extras or {}))
        self.changes_weights = changes_weights
        self._changed = _add_changes(self.blocks, targets) if changes_weights else []
        self.layout = layout_of(self, targets, head_names, lora)
        self._parameters_by_name = named(self)

    @property
    def blocks(self) -> nn.ModuleList:
        """The shared stack."""
        return cast(nn.ModuleList, self.backbone.blocks)

    @property
    def own_head(self) -> bool:
        """Whether scores are those of a language model's own head for every marked token; no head is trained then."""
        return isinstance(self.backbone, TextStack) and self.backbone.own_head

    def seed(self, seed: int) -> None:
        """Begin a stream of random numbers for dropout."""
        torch.manual_seed(seed)
        self._noise.seed(seed)

    def embed(self, inputs: Inputs) -> BlockInputs:
        """What goes into the first block, from normalised images (images, 3, H, W) or the inputs of a language model.

        All of this is frozen, so nothing is recorded for gradients unless the patch embedding's LoRA is trained.

        Raises:
            TypeError: for inputs by name, which the stem of an image model does not take, or images, which that of a
                language model does not.
        """
        text = isinstance(self.backbone, TextStack)
        if isinstance(inputs, Tensor) == text:
            given = "images" if text else ", ".join(cast(Mapping[str, Tensor], inputs))
            raise TypeError(f"{type(self.backbone).__name__} takes {'texts' if text else 'images'}, not {given}")
        if isinstance(inputs, Tensor):
            _, taken = self._stem(inputs.to(next(self.backbone.parameters()).dtype))
            return cast(BlockInputs, taken[0])
        _, taken = self._stem(inputs)
        return cast(BlockInputs, taken[0]._replace(marks=cast(TextStack, self.backbone).marks(inputs)))

    def readout(self, tokens: Tensor, marks: Tensor | None = None) -> Tensor:
        """Features (examples, width) that a head classifies, from the tokens after any block.

        Args:
            tokens: Tokens (examples, tokens, width).
            marks: `BlockInputs.marks`.
        """
        if self.own_head:
            return cast(Tensor, self.backbone.norm(marked(tokens, cast(Tensor, marks))))  # type: ignore[operator]
        behind = self.backbone.norm(tokens)  # type: ignore[operator]
        features = self.backbone.forward_head(behind) if marks is None else marked_mean(behind, marks)  # type: ignore[operator]
        return cast(Tensor, features.to(next(self.heads.parameters()).dtype))

    def scores(self, stream: BlockInputs, head: str = "head") -> Tensor:
        """Scores (examples, classes) of the tokens after any block; by the own head (marked tokens, vocabulary)."""
        return self._scored(self.readout(stream.tokens, stream.marks), head)

    def _scored(self, features: Tensor, head: str) -> Tensor:
        if self.own_head:
            return cast(TextStack, self.backbone).token_scores(features)
        return cast(Tensor, self.heads[head](features))

    def logits(self, inputs: Inputs, layers: Sequence[int], head: str = "head") -> Tensor:
        """Class scores (images, classes) of the sub-model made of `layers`, in their original order.

        Of a language model's own head they are scores (marked tokens, vocabulary) of the tokens that may follow.
        """
        return self.exit_logits(inputs, layers, [(len(layers), head)])[0]

    def exit_logits(self, inputs: Inputs, layers: Sequence[int], exits: Sequence[tuple[int, str]]) -> list[Tensor]:
        """Class scores at several depths.

        Args:
            inputs: Normalised images (images, 3, H, W), or a language model's inputs by name.
            layers: The sub-model's layers; they run in their original order.
            exits: Pairs (n, name): the head of that name reads the tokens after the first n layers.

        Returns:
            Scores (images, classes) of every pair, in the order of the pairs, without those deeper than the sub-model.
        """
        features = self._features(inputs, sorted(layers), {depth for depth, _ in exits if depth <= len(layers)})
        return [self._scored(features[depth], name) for depth, name in exits if depth in features]

    def _features(self, inputs: Inputs, layers: Sequence[int], depths: Collection[int]) -> dict[int, Tensor]:
        """What heads read after the first n of `layers`, for every n of `depths`; no block beyond these is run."""
        if self._in_rows and self.training and not isinstance(inputs, Tensor):
            inputs = cast(TextStack, self.backbone).in_rows(inputs)
        stream = self.embed(inputs)
        features = {0: self.readout(stream.tokens, stream.marks)} if 0 in depths else {}
        for depth, layer in enumerate(layers[: max(depths, default=0)], start=1):
            if depth == max(depths) and self._first_token_only:
                stream = stream._replace(tokens=first_token(self.blocks[layer], stream.tokens))
            elif depth == max(depths) and self._shortened:
                stream = self._read_after(self.blocks[layer], stream)
            else:
                stream = stream.after(self.blocks[layer])
            if depth in depths:
                features[depth] = self.readout(stream.tokens, stream.marks)
        return features

    def _read_after(self, block: nn.Module, stream: BlockInputs) -> BlockInputs:
        """What a head reads behind a language model's last block, and nothing else."""
        tokens, args, kwargs, marks = stream
        read = read_tokens(cast(TextStack, self.backbone), block, tokens, cast(Tensor, marks), args, kwargs)
        return BlockInputs(read, args, kwargs, all_read(read))

    def merged(self, members: Sequence[int], beta: float) -> nn.Module:
        """One block in place of several (`merged_block`), which trains the LoRA factors of the first."""
        return merged_block(list(self.blocks), members, beta)

    def similarity(self) -> NDArray[np.float64]:
        """Cosines (layers, layers) of the blocks' frozen weights."""
        return cosines(list(self.blocks)).cpu().numpy()

    def load(self, values: NDArray[np.float32], held: Sequence[int]) -> None:
        """Take every segment from a full flat vector; only the held ones are trained from here on.

        All parameters are views of one flat tensor, and their gradients of another.

        Args:
            values: The full flat vector (`layout.size`,).
            held: Indices of the segments that are trained.
        """
        chosen = set(held)
        device = next(iter(self._parameters_by_name.values())).device
        self._values = torch.tensor(values, device=device)
        self._gradients = torch.zeros_like(self._values)
        for index, (segment, entries) in enumerate(zip(self.layout.segments, self.layout.entries, strict=True)):
            start = segment.start
            for entry in entries:
                parameter = self._parameters_by_name[entry.name]
                stop = start + entry.size
                parameter.grad = None
                parameter.requires_grad_(index in chosen)
                parameter.data = self._values[start:stop].view(entry.shape)
                if index in chosen:
                    parameter.grad = self._gradients[start:stop].view(entry.shape)
                start = stop
        for linear, frozen in self._changed:
            changed = (frozen + linear.scaling * cast(Tensor, linear.change)).to(frozen.dtype)
            linear.base.weight = nn.Parameter(changed, requires_grad=False)
        self._held = sorted(chosen)
        self._ranks: dict[int, int] = {}
        self.held = [nn.Parameter(self._values[self.layout.segments[index]]) for index in self._held]
        self.gradients = [self._gradients[self.layout.segments[index]] for index in self._held]
        for parameter, gradient in zip(self.held, self.gradients, strict=True):
            parameter.grad = gradient

    def pack(self, held: Sequence[int]) -> NDArray[np.float32]:
        """The held segments, one after another in one contiguous buffer."""
        return torch.cat([self._values[self.layout.segments[index]] for index in held]).cpu().numpy()

    def split(self, vector: NDArray[np.float32]) -> list[Tensor]:
        """The held segments of a full flat vector as tensors on the model's device, in the order of `held`."""
        device = self._values.device
        return [torch.tensor(vector[self.layout.segments[index]], device=device) for index in self._held]

    def factors(self, layer: int) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """LoRA's A (rank, inputs) and B (outputs, rank) of every target of a layer."""
        parameters = [self._parameters_by_name[entry.name] for entry in self.layout.layers[layer]]
        return list(zip(parameters[::2], parameters[1::2], strict=True))

    def cut(self, ranks: Mapping[int, int]) -> None:
        """Train no more than these ranks of layers, by layer: what lies beyond is zero, and stays zero."""
        self._ranks = dict(ranks)
        for layer, rank in ranks.items():
            for a, b in self.factors(layer):
                a.data[rank:] = 0
                b.data[:, rank:] = 0

    def cut_gradients(self) -> None:
        """Set the gradients of what `cut` left out to zero."""
        for layer, rank in self._ranks.items():
            for a, b in self.factors(layer):
                cast(Tensor, a.grad)[rank:] = 0
                cast(Tensor, b.grad)[:, rank:] = 0

    def trained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The `held` parameters in two lists: those of LoRA factors and extras, and those of heads."""
        parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for index, parameter in zip(self._held, self.held, strict=True):
            parts[self.layout.is_head(index)].append(parameter)
        return parts


def _adapt_patch_embedding(backbone: nn.Module, lora: LoraConfig) -> None:
    projection = getattr(getattr(backbone, "patch_embed", None), "proj", None)
    if not isinstance(projection, nn.Conv2d):
        name = type(backbone).__name__
        raise SettingError("lora.patch_embedding", True, f"{name} has no convolution patch_embed.proj; set it to false")
    backbone.set_submodule("patch_embed.proj", LoraConv2d(projection, lora))


def _add_changes(blocks: nn.ModuleList, targets: Sequence[str]) -> list[tuple[LoraLinear, Tensor]]:
    """Give every adapted layer a parameter `change` of its weight's shape; returns these layers and their weights."""
    linears = [cast(LoraLinear, block.get_submodule(target)) for block in blocks for target in targets]
    for linear in linears:
        zeros = torch.zeros(linear.base.weight.shape)
        linear.register_parameter("change", nn.Parameter(zeros, requires_grad=False))
    return [(linear, linear.base.weight.detach()) for linear in linears]
