"""Metrics of a running experiment for Prometheus, exported by Ray; cluster/grafana has a dashboard for them."""

from ray.util.metrics import Counter, Gauge

from fedra_ray.federation.allocation import layer_coverage
from fedra_ray.federation.reports import RoundReport
from fedra_ray.federation.shards import accuracies

_RUN = ("run",)
#: Description and tags (beside `run`) by name. Ray exports a gauge as ray_NAME, and a counter as ray_NAME_total.
GAUGES = {
    "fedra_round": ("Finished rounds", ()),
    "fedra_rounds": ("Planned rounds", ()),
    "fedra_loss": ("Mean training loss of the round", ()),
    "fedra_accuracy": ("Top-1 accuracy of the last evaluation, 0 to 1", ("domain",)),
    "fedra_phase_seconds": ("Wall time of the round by phase", ("phase",)),
    "fedra_layer_coverage": ("Share of the layers that a client trained in the round", ()),
    "fedra_slots": ("Client actors, started or starting", ()),
    "fedra_slot_utilisation": ("Share of the slots' time in the training phase in which clients trained", ()),
}
COUNTERS = {
    "fedra_bytes": ("Bytes of adapters sent to and from clients", ("direction",)),
    "fedra_retries": ("Attempts at training a client beyond the first", ()),
    "fedra_dropped_clients": ("Clients that were missing from a round's average", ()),
}


class Metrics:
    """The metrics of one run, which the tag `run` tells apart from others.

    Args:
        run: The run directory, as the value of that tag.
        rounds: Number of planned rounds.
    """

    def __init__(self, run: str, rounds: int) -> None:
        self._gauges = {name: Gauge(name, text, _RUN + tags) for name, (text, tags) in GAUGES.items()}
        self._counters = {name: Counter(name, text, _RUN + tags) for name, (text, tags) in COUNTERS.items()}
        self._run = run
        self._rounds = rounds
        self._accuracy: dict[str, float] = {}

    def round(self, report: RoundReport, slots: int) -> None:
        """Export a finished round.

        Args:
            report: The round.
            slots: How many client actors carried it out.
        """
        self._set("fedra_round", report.round)
        self._set("fedra_rounds", self._rounds)  # again in every round: Ray forgets a value that is not set for a while
        self._set("fedra_loss", report.loss)
        self._accuracy |= accuracies(report.scores)
        for domain, accuracy in self._accuracy.items():
            self._set("fedra_accuracy", accuracy, domain=domain)
        for phase, seconds in report.phases.items():
            self._set("fedra_phase_seconds", seconds, phase=phase)
        self._set("fedra_layer_coverage", layer_coverage(report.layer_holders))
        self._set("fedra_slots", slots)
        self._set("fedra_slot_utilisation", report.busy / (slots * report.phases["training"]))
        self._add("fedra_bytes", report.bytes_up, direction="up")
        self._add("fedra_bytes", report.bytes_down, direction="down")
        self._add("fedra_retries", report.retries)
        self._add("fedra_dropped_clients", len(report.missing.clients()))

    def _set(self, name: str, value: float, **tags: str) -> None:
        self._gauges[name].set(value, {"run": self._run, **tags})

    def _add(self, name: str, value: float, **tags: str) -> None:
        if value > 0:  # Ray refuses to add nothing
            self._counters[name].inc(value, {"run": self._run, **tags})
