"""Scores of a global model on one shard of a domain's examples at a time, without Ray."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedra_ray.data.feeding import AnyExamples
from fedra_ray.federation.messages import Score
from fedra_ray.methods.method import Method
from fedra_ray.model.submodel import Batch, SubModel

_BEST = 5


def evaluate(
    model: SubModel,
    method: Method,
    examples: AnyExamples,
    values: NDArray[np.float32],
    domain: str,
    batch_size: int,
) -> Score:
    """Top-1, top-5 and cross entropy of the method's prediction, and what else `fedra_ray.federation.metrics` needs.

    Args:
        model: The shared stack; on return it holds the global values.
        method: Gives the prediction.
        examples: The examples, all of one domain.
        values: The global adapter, the full flat vector.
        domain: Name of the domain, for the score.
        batch_size: Examples per forward pass.

    Returns:
        Counts of hits and the mean loss over the examples that could be read; a loss of 0 if there are none. Of answers
        to prompts, over their tokens.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    model.load(values, range(len(model.layout.entries)))
    model.eval()
    tally = _Tally()
    with torch.inference_mode():
        for batch in examples.batches(examples.in_turn(batch_size)):
            tally.add(batch, method.predict(model, batch.inputs))
    return Score(
        domain,
        examples.split,
        tally.count,
        tally.top1,
        tally.top5,
        tally.loss / max(1, tally.count),
        tuple(sorted(examples.skipped)),
        by_class=tuple(tuple(row) for row in tally.by_class.tolist()),
        answers=tally.answers,
        exact=tally.exact,
    )


class _Tally:
    """What adds up from batch to batch."""

    def __init__(self) -> None:
        self.count = self.top1 = self.top5 = self.answers = self.exact = 0
        self.loss = 0.0
        self.by_class = torch.empty(0, 0, dtype=torch.long)

    def add(self, batch: Batch, scores: Tensor) -> None:
        """Count a batch with its scores (labels, classes)."""
        expected = batch.labels
        answers = None if isinstance(batch.inputs, Tensor) else batch.inputs.get("answers")
        ranks = _ranks(scores) if answers is None else scores.topk(min(_BEST, scores.shape[1]), dim=1).indices
        hits = ranks == expected[:, None]
        self.count += len(expected)
        self.top1 += int(hits[:, 0].sum())
        self.top5 += int(hits.sum())
        self.loss += float(functional.cross_entropy(scores, expected, reduction="sum"))
        if answers is None:
            self._add_classes(ranks[:, 0], expected, scores.shape[1])
        else:  # greedy generation gives an answer if each of its tokens is the likeliest after those before
            wrong = answers.nonzero()[:, 0][~hits[:, 0]]
            self.answers += len(answers)
            self.exact += len(answers) - len(wrong.unique())

    def _add_classes(self, predicted: Tensor, expected: Tensor, classes: int) -> None:
        """Count hits, predictions and examples of every class (3, classes)."""
        kinds = (expected[predicted == expected], predicted, expected)
        counts = torch.stack([torch.bincount(kind, minlength=classes) for kind in kinds]).cpu()
        self.by_class = counts + self.by_class if self.by_class.numel() else counts


def _ranks(scores: Tensor) -> Tensor:
    """The classes of the five highest scores, the highest first; of equal ones the lower class comes first."""
    return scores.argsort(dim=1, descending=True, stable=True)[:, :_BEST]
