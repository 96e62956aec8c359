"""What a score says besides accuracy, from its counts."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.units import mean_over_domains
from fedra_ray.federation.messages import Score


def macro_f1(counts: NDArray[np.int64]) -> float:
    """The mean over classes of F1, the harmonic mean of precision and recall, from 0 to 1.

    Classes that neither examples nor predictions have do not count, as in scikit-learn.

    Args:
        counts: Hits, predictions and examples of every class (3, classes).
    """
    hits, predicted, actual = counts
    present = predicted + actual > 0
    return float(np.mean(2 * hits[present] / (predicted + actual)[present]))


def matthews(counts: NDArray[np.int64]) -> float:
    """Matthews' correlation of predictions and labels, from -1 to 1; 0 if either are all of one class.

    For more than two classes it is Gorodkin's R_K (Comput. Biol. Chem. 28, 2004, equation 8).

    Args:
        counts: Hits, predictions and examples of every class (3, classes).
    """
    hits, predicted, actual = counts.astype(object)  # whole numbers of any size: their squares are exact
    total = int(actual.sum())
    spread = (total**2 - int((predicted**2).sum())) * (total**2 - int((actual**2).sum()))
    shared = int(hits.sum()) * total - int((predicted * actual).sum())
    return shared / math.sqrt(spread) if spread else 0.0


def metrics(score: Score) -> dict[str, float]:
    """What a score says besides top-1 and top-5, by name; nothing of a score without counts for it.

    Of classes these are `macro_f1` and `matthews`. Of answers they are `token_loss`, the mean cross entropy of a token
    in nats, `perplexity`, its exponential, and `exact_match`, the share of answers that greedy generation gives token
    for token.
    """
    if score.answers:
        perplexity = math.exp(min(score.loss, 700.0))  # beyond that it is no float
        return {"token_loss": score.loss, "perplexity": perplexity, "exact_match": score.exact / score.answers}
    if score.by_class:
        counts = np.array(score.by_class, dtype=np.int64)
        return {"macro_f1": macro_f1(counts), "matthews": matthews(counts)}
    return {}


def metrics_by_domain(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Every metric by domain, in the order of the scores."""
    found = {score.domain: metrics(score) for score in scores}
    names = dict.fromkeys(name for values in found.values() for name in values)
    return {name: {domain: values[name] for domain, values in found.items() if name in values} for name in names}


def mean_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """The mean over domains of every metric, whatever their numbers of examples."""
    return {name: mean_over_domains(values.values()) for name, values in metrics_by_domain(scores).items()}
