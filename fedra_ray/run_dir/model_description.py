"""What adapter/model.json says: everything that is needed to use the tuned model besides its weights."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from fedra_ray.run_dir.folder import Folder

ADAPTER = "adapter"  # its folder in the run directory
FILE = "model.json"
#: What becomes of an image's pixels before the model sees them, by `dataset.resize`.
PIXELS = {
    "antialias": "RGB, resized to input_size by Pillow's bicubic filter, divided by 255, less mean, over std",
    "authors": "RGB, divided by 255, resized to input_size by bicubic interpolation without antialiasing, less mean, "
    "over std",
}
#: What becomes of a text before a language model sees it.
TOKENS = "none: a text becomes tokens by the tokenizer of the backbone, of which there are at most input_size"


@dataclass(frozen=True)
class Exit:
    """A head that takes part in a prediction.

    Attributes:
        after: How many of the evaluated layers lie before it; it reads their tokens through the model's norm and
            pooling.
        head: Its name.
        file: The file in adapter/ that holds its weight and bias; empty for a language model's own head.
        tensors: What their names begin with in that file.
    """

    after: int
    head: str
    file: str
    tensors: str


@dataclass(frozen=True)
class ModelDescription:
    """A tuned model.

    Attributes:
        method: Dotted path of the federated method.
        backbone: The settings of the frozen model: its name, its arguments, and where its weights are.
        input_size: Channels, height and width of an image; or tokens of the longest text.
        pixels: What becomes of an image's pixels, or of a text, before the model sees them.
        mean: Mean by channel that is taken off pixels in [0, 1]; empty for texts.
        std: Standard deviation by channel that they are divided by then; empty for texts.
        classes: Names of the classes, in the order of scores.
        domains: Names of the domains that it was tuned on.
        evaluated_layers: Indices of the blocks that it consists of; a run leaves out the others.
        exits: The heads that its scores come from, shallowest first.
        scores: How these make the class scores, in words.
        template: How prompts were put to a language model that answers them; None if by its tokenizer.
    """

    method: str
    backbone: dict[str, Any]
    input_size: tuple[int, ...]
    pixels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    evaluated_layers: tuple[int, ...]
    exits: tuple[Exit, ...]
    scores: str
    template: str | None = None

    def write(self, adapter: Folder) -> None:
        """Write it into the folder of the adapter.

        Raises:
            RunFailedError: if it cannot be written.
        """
        adapter.write(FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())


def read_description(adapter: Folder) -> ModelDescription:
    """Read it from the folder of an adapter.

    Raises:
        FileNotFoundError: if it is not there.
        LookupError, TypeError, ValueError: if it is not one.
    """
    content = adapter.read(FILE)
    if content is None:
        raise FileNotFoundError(f"{adapter}/{FILE}")
    stated = json.loads(content)
    return ModelDescription(
        method=str(stated["method"]),
        backbone=dict(stated["backbone"]),
        input_size=tuple(map(int, stated["input_size"])),
        pixels=str(stated["pixels"]),
        mean=tuple(map(float, stated["mean"])),
        std=tuple(map(float, stated["std"])),
        classes=tuple(map(str, stated["classes"])),
        domains=tuple(map(str, stated["domains"])),
        evaluated_layers=tuple(map(int, stated["evaluated_layers"])),
        exits=tuple(Exit(**head) for head in stated["exits"]),
        scores=str(stated["scores"]),
        template=stated.get("template"),
    )
