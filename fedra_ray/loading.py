"""The tuned model of a finished run, ready to use: the one that its summary states the accuracy of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fedra_ray.config.checks import check
from fedra_ray.config.mapping import from_mapping
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.data.image import decode
from fedra_ray.data.text.dataset import Tokenized
from fedra_ray.data.text.dialogue import Dialogue
from fedra_ray.data.text.examples import padded
from fedra_ray.federation.fleet import Fleet
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import find_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.text.generation import greedy
from fedra_ray.model.text.stack import TextStack
from fedra_ray.model.weights import from_weights, load_weights
from fedra_ray.preflight import adapt
from fedra_ray.run_dir.claim import CONFIG
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.model_description import ADAPTER, FILE, ModelDescription, read_description
from fedra_ray.run_dir.peft_export import TIMM_BLOCKS, read_peft
from fedra_ray.run_dir.reading import checked, read_finished


class TunedModel(nn.Module):
    """The global model of a finished run. It maps normalised images (n, 3, H, W) to class scores (n, classes).

    Args:
        model: The backbone with LoRA and heads, which holds the values of the run.
        method: The run's method, which says how the scores come about.
        description: What the run says of the model.
        resize: A value of `dataset.resize`.

    Attributes:
        classes: Names of the classes, in the order of scores.
        input_size: Channels, height and width of an image.
        mean: Mean by channel that `preprocess` takes off pixels in [0, 1].
        std: Standard deviation by channel that it divides them by then.
    """

    def __init__(self, model: SubModel, method: Method, description: ModelDescription, resize: str) -> None:
        super().__init__()
        self.model = model
        self.classes = description.classes
        self.input_size = description.input_size
        self.mean, self.std = description.mean, description.std
        self._method = method
        self._resize = resize

    def preprocess(self, image: str | Path | bytes) -> Tensor:
        """A normalised image (3, H, W) from an image file, as the run has made them.

        Args:
            image: Path of the file, or what it holds.

        Raises:
            ImageError: if it is missing or cannot be decoded.
        """
        content = Path(image) if isinstance(image, str) else image
        name = "of bytes" if isinstance(content, bytes) else str(content)
        decoded = torch.tensor(decode(content, self.input_size[-1], name, self._resize))
        pixels = decoded if decoded.is_floating_point() else decoded.float() / 255
        mean, std = (torch.tensor(statistic).view(3, 1, 1) for statistic in (self.mean, self.std))
        return (pixels - mean) / std

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (n, classes) of normalised images (n, 3, H, W), as the run's method predicts them."""
        return self._method.predict(self.model, images)


class TunedTextModel(nn.Module):
    """The global model of a finished run on texts. It maps tokens by name to class scores (n, classes).

    Args:
        model: The language model with LoRA and heads, which holds the values of the run.
        method: The run's method, which says how the scores come about.
        description: What the run says of the model.
        tokenizer: Folder or hub's name of the language model.

    Attributes:
        classes: Names of the classes, in the order of scores.
        max_length: The most tokens of a text.
    """

    def __init__(self, model: SubModel, method: Method, description: ModelDescription, tokenizer: str) -> None:
        super().__init__()
        self.model = model
        self.classes = description.classes
        self.max_length = description.input_size[0]
        self._method = method
        self._place = tokenizer

    def preprocess(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of texts, `input_ids` and `attention_mask` (n, tokens), as the run has made them.

        Raises:
            SettingError: if the tokenizer cannot be read.
        """
        tokenized = Tokenized(texts, self._place, self.max_length)
        return padded([tokenized[number] for number in range(len(texts))], tokenized.padding, self.max_length)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Class scores (n, classes) of tokens, as the run's method predicts them."""
        return self._method.predict(self.model, inputs)


class TunedLanguageModel(nn.Module):
    """The global model of a finished run on answers to prompts. It maps tokens by name to scores of the next ones.

    Args:
        model: The language model with LoRA and its own head, which holds the values of the run.
        method: The run's method, which says how the scores come about.
        dialogue: Puts prompts as the run did.
        max_length: The most tokens of a prompt and its answer.
    """

    def __init__(self, model: SubModel, method: Method, dialogue: Dialogue, max_length: int) -> None:
        super().__init__()
        self.model = model
        self.max_length = max_length
        self._method = method
        self._dialogue = dialogue

    def generate(self, prompts: Sequence[str], max_tokens: int = 64) -> list[str]:
        """The likeliest answers to prompts, by greedy generation.

        Args:
            prompts: What is asked; of one that leaves no room for an answer, the beginning is cut off.
            max_tokens: The most tokens of an answer.
        """
        room = max(1, self.max_length - max_tokens)
        asked = [tokens[-room:] for tokens in self._dialogue.prompts([self._dialogue.ask(each) for each in prompts])]
        most = min(max_tokens, self.max_length - 1)
        found = greedy(self, asked, self._dialogue.end, self._dialogue.padding, most)
        return [self._dialogue.text(answer.tolist()) for answer in found]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Scores (marked tokens, vocabulary) of what follows the tokens that `answers` marks."""
        return self._method.predict(self.model, inputs)


def load(run_dir: str | Path, checkpoint: str | None = None) -> TunedModel | TunedTextModel | TunedLanguageModel:
    """The tuned model of a finished run, in evaluation mode and on the CPU, with the accuracy of its summary.json.

    Its method is imported as the run's config.yaml names it: load no run whose origin you do not trust.

    Args:
        run_dir: The folder of the run, or its URI.
        checkpoint: File of the backbone's frozen weights, or folder of a language model's; None for where the run had
            them.

    Raises:
        SettingError: if the folder holds no finished run, its files are damaged, or the frozen weights cannot be read.
    """
    folder = Folder(run_dir)
    run = read_finished(folder)
    adapter = folder.below(ADAPTER)
    with checked(folder, CONFIG):
        config = from_mapping(ExperimentConfig, run.config)
        check(config)
    with checked(folder, f"{ADAPTER}/{FILE}"):
        description = read_description(adapter)
    if checkpoint is not None:
        config = replace(config, backbone=replace(config.backbone, checkpoint=checkpoint))
    backbone = from_weights(config.backbone, load_weights(config.backbone))
    method = create_method(config, len(cast(nn.ModuleList, backbone.blocks)), Fleet(config, description.domains))
    targets = find_targets(backbone, config.lora.targets)
    model = adapt(backbone, targets, config, method, len(description.classes))
    path = backbone.block_path if isinstance(backbone, TextStack) else TIMM_BLOCKS
    with checked(folder, ADAPTER):
        values = read_peft(adapter, model.layout, path)
    model.load(values, held=[])
    if config.backbone.source is not None and config.backbone.head == "own":
        dialogue = Dialogue(config.backbone.source, config.dataset.options.get("template", description.template))
        return TunedLanguageModel(model, method, dialogue, description.input_size[0]).eval()
    if config.backbone.source is not None:
        return TunedTextModel(model, method, description, config.backbone.source).eval()
    return TunedModel(model, method, description, config.dataset.resize).eval()
