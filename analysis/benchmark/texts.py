"""How long a client's local step on texts takes, against plain transformers and PEFT's eager loop, on one thread.

    python -m analysis.benchmark.texts

A step is forward, backward and optimiser, with LoRA dropout 0.1, in fp32 and at equal gradients. The models have random
weights and the shapes of BERT-base, which classifies, and of SmolLM2-135M, which is tuned on answers: half of the
tokens. The two loops take turns. A second table has this project's step on answers of very different lengths, padded
and end to end in rows, and a third one that with frozen weights in eight and four bits.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from analysis.benchmark.report import parser, show, take_turns
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.data.text.dataset import InstructionDataset, Tokens
from fedra_ray.data.text.examples import AnswerExamples
from fedra_ray.model import _torchvision  # noqa: F401  (must come before transformers)
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.submodel import SubModel

import peft  # isort: skip
import transformers  # isort: skip

LORA = LoraConfig(rank=8, alpha=16.0, dropout=0.1)
#: Inputs of a sub-model by name.
Inputs = Mapping[str, Tensor]
CLASSES = 4
TOKENS = 64
DEPTHS = (3, 6, 12)
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Case:
    """A model of 12 blocks, and how many texts of 64 tokens a step has; some are shorter."""

    name: str
    settings: Any
    texts: int
    head: str


CASES = [
    Case("BERT-base, classes", transformers.BertConfig(num_hidden_layers=12, **NO_DROPOUT), 16, "trained"),
    Case(
        "SmolLM2-135M, answers",
        transformers.LlamaConfig(
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=12,
            num_attention_heads=9,
            num_key_value_heads=3,
            vocab_size=49152,
            tie_word_embeddings=True,
        ),
        8,
        "own",
    ),
]


def batch(case: Case) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs of a sub-model, and the labels of transformers: classes, or tokens with -100 for prompts and padding."""
    ids = torch.randint(5, case.settings.vocab_size, (case.texts, TOKENS))
    lengths = torch.linspace(TOKENS // 2, TOKENS, case.texts).long()[:, None]
    mask = (torch.arange(TOKENS) < lengths).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    if case.head == "trained":
        return inputs, torch.randint(0, CLASSES, (case.texts,))
    answered = (torch.arange(TOKENS) >= lengths // 2) & mask.bool()
    labels = ids.where(answered, -100)
    return inputs | {"answers": answered.roll(-1, 1) & (torch.arange(TOKENS) < TOKENS - 1)}, labels


class Answers(InstructionDataset):
    """Made-up answers to prompts of the same length, of 8 to 64 tokens together; each is longer by the same ratio."""

    domains, classes, padding = ("all",), ("all",), 0

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return np.zeros(16, dtype=np.int64)

    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        rng = np.random.default_rng(0)
        return [rng.integers(5, 40_000, length, dtype=np.int32) for length in self._lengths()]

    def prompt_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._lengths() // 2

    def _lengths(self) -> NDArray[np.int64]:
        return np.geomspace(8, TOKENS, 16).round().astype(np.int64)


def ours(case: Case, depth: int, inputs: Inputs, labels: Tensor, bits: str | None = None) -> Callable[[], object]:
    """A function that takes this project's step of a sub-model, whose frozen weights may be quantised."""
    with tempfile.TemporaryDirectory() as folder:
        case.settings.save_pretrained(folder)
        backbone = build(BackboneConfig(model=f"hf:{folder}", max_length=TOKENS, head=case.head, quantization=bits))
    model = SubModel(backbone, find_targets(backbone, None), LORA, ("head",), CLASSES)
    layers = torch.linspace(0, 11, depth).round().int().tolist()
    model.load(model.layout.initial(0), model.layout.held(layers, ("head",)))
    model.train()
    trained = [parameter for group in model.trained() for parameter in group]
    return _step(trained, lambda: functional.cross_entropy(model.logits(inputs, layers), labels))


def theirs(case: Case, depth: int, inputs: dict[str, Tensor], labels: Tensor) -> Callable[[], object]:
    """A function that takes the step of a plain model of so many blocks under PEFT."""
    settings = type(case.settings)(**case.settings.to_dict() | {"num_hidden_layers": depth, "use_cache": False})
    targets = ["query", "value"] if case.head == "trained" else ["q_proj", "v_proj"]
    lora = peft.LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, lora_dropout=LORA.dropout, target_modules=targets)
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    if case.head == "own":
        causal = peft.get_peft_model(transformers.LlamaForCausalLM(settings), lora).train()
        return _step(list(causal.parameters()), lambda: causal(**given, labels=labels).loss)
    encoder = peft.get_peft_model(transformers.BertModel(settings, add_pooling_layer=False), lora).train()
    head = torch.nn.Linear(settings.hidden_size, CLASSES)

    def loss() -> Tensor:
        return functional.cross_entropy(head(encoder(**given).last_hidden_state[:, 0]), labels)

    return _step([*encoder.parameters(), *head.parameters()], loss)


def _step(parameters: list[torch.nn.Parameter], loss: Callable[[], Tensor]) -> Callable[[], object]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.01, momentum=0.9, weight_decay=1e-5)

    def take() -> float:
        optimiser.zero_grad(set_to_none=False)
        value = loss()
        value.backward()
        optimiser.step()
        return value.item()

    return take


def measure(case: Case, depth: int, repeats: int) -> dict[str, Any]:
    """A row of the table: medians in milliseconds."""
    given = batch(case)
    inputs, labels = given
    times = take_turns([theirs(case, depth, *given), ours(case, depth, inputs, labels[labels != -100])], repeats)
    return {
        "model": case.name,
        "texts": case.texts,
        "blocks": depth,
        "transformers + PEFT, ms": 1e3 * times[0],
        "fedra-ray, ms": 1e3 * times[1],
        "times as fast": times[0] / times[1],
    }


def measure_rows(depth: int, repeats: int) -> dict[str, Any]:
    """A row of the table of answers of very different lengths."""
    every, cpu = np.arange(16), torch.device("cpu")
    steps = []
    for split in ("test", "train"):  # of which the latter has them end to end
        (given,) = AnswerExamples(Answers(), split, [("all", every)], cpu, TOKENS).batches([every])
        assert not isinstance(given.inputs, Tensor)
        steps.append(ours(CASES[1], depth, given.inputs, given.labels))
    times = take_turns(steps, repeats)
    return {
        "model": CASES[1].name,
        "texts": len(every),
        "blocks": depth,
        "padded, ms": 1e3 * times[0],
        "end to end, ms": 1e3 * times[1],
        "times as fast": times[0] / times[1],
    }


def measure_bits(case: Case, repeats: int) -> list[dict[str, Any]]:
    """Rows of the table of quantised weights, at twelve blocks."""
    inputs, labels = batch(case)
    kinds = (None, "int8", "nf4")
    times = take_turns([ours(case, 12, inputs, labels[labels != -100], bits) for bits in kinds], repeats)
    return [
        {
            "model": case.name,
            "frozen weights": bits or "float32",
            "step, ms": 1e3 * time,
            "times as long": time / times[0],
        }
        for bits, time in zip(kinds, times, strict=True)
    ]


def main() -> None:
    """Measure, print and write."""
    settings = parser(__doc__, "texts").parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [measure(case, depth, settings.repeats) for case in CASES for depth in DEPTHS]
    show("A local step on texts", rows, settings.out)
    rows = [measure_rows(depth, settings.repeats) for depth in DEPTHS]
    show("A local step on answers of 8 to 64 tokens", rows, settings.out.with_stem(f"{settings.out.stem}-rows"))
    rows = [row for case in CASES for row in measure_bits(case, settings.repeats)]
    show("A local step with quantised weights", rows, settings.out.with_stem(f"{settings.out.stem}-bits"))


if __name__ == "__main__":
    main()
