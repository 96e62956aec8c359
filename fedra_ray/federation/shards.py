"""Evaluation in parts: what is computed side by side, and how the parts become one score per domain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.units import mean_over_domains
from fedra_ray.federation.messages import Score

_BATCHES = 4  # of a shard: enough to decode one while another is computed with, few enough to share out evenly


@dataclass(frozen=True)
class Shard:
    """A part of a domain's images for evaluation: those from `start` to before `stop`."""

    domain: str
    start: int
    stop: int


def shards(images: dict[str, int], batch_size: int) -> list[Shard]:
    """Parts of every domain for evaluation side by side: a few batches each, whatever the number of actors.

    Args:
        images: How many images each domain has.
        batch_size: Images per forward pass.
    """
    size = _BATCHES * batch_size
    return [
        Shard(domain, start, min(start + size, count))
        for domain, count in images.items()
        for start in range(0, count, size)
    ]


def total_scores(scores: Sequence[Score]) -> list[Score]:
    """One score per domain from those of its shards, which follow each other.

    Raises:
        RunFailedError: if no image of a domain could be read.
    """
    return [_total(list(parts)) for _, parts in groupby(scores, key=lambda score: score.domain)]


def accuracies(scores: Sequence[Score]) -> dict[str, float]:
    """Top-1 accuracy from 0 to 1 by domain, in the order of the scores."""
    return {score.domain: score.top1 / score.examples for score in scores}


def mean_accuracy(scores: Sequence[Score]) -> float:
    """The mean of the domains' top-1 accuracies, from 0 to 1, whatever their numbers of images.

    Args:
        scores: One per domain, at least one.
    """
    return mean_over_domains(accuracies(scores).values())


def _total(parts: list[Score]) -> Score:
    first = parts[0]
    examples = sum(part.examples for part in parts)
    skipped = tuple(sorted(image for part in parts for image in part.skipped))
    if not examples:
        raise RunFailedError(f"domain {first.domain}: none of its {len(skipped)} {first.split} images can be read")
    return replace(
        first,
        examples=examples,
        top1=sum(part.top1 for part in parts),
        top5=sum(part.top5 for part in parts),
        loss=sum(part.loss * part.examples for part in parts) / examples if len(parts) > 1 else first.loss,
        skipped=skipped,
        by_class=_sums([part.by_class for part in parts if part.by_class]),
        answers=sum(part.answers for part in parts),
        exact=sum(part.exact for part in parts),
    )


def _sums(parts: list[tuple[tuple[int, ...], ...]]) -> tuple[tuple[int, ...], ...]:
    """Counts of classes, added up."""
    return tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*parts, strict=True))
