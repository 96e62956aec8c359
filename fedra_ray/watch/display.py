"""What a run prints: one line per round, then the table of accuracies."""

import math
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.config.units import clock, metric_name, metric_value
from fedra_ray.federation.reports import RoundReport
from fedra_ray.federation.shards import mean_accuracy


class Display:
    """Prints an experiment as it goes; plain text when the output is not a terminal."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._rounds = config.rounds
        self._start = time.monotonic()
        self._first: tuple[int, float] | None = None

    def say(self, text: str) -> None:
        """Print a line of text as it is, without any markup."""
        self._console.print(text, markup=False)

    def round(self, report: RoundReport) -> None:
        """Print a round's line: loss, mean accuracy if it was evaluated, elapsed time and time to go."""
        now = time.monotonic()
        if self._first is None:
            self._first = (report.round, now)
        done = report.round - self._first[0]
        left = (now - self._first[1]) / done * (self._rounds - report.round) if done else None
        width = len(str(self._rounds))
        parts = [f"round {report.round:{width}}/{self._rounds}", f"loss {report.loss:6.3f}"]
        parts.append(f"accuracy {mean_accuracy(report.scores):6.2%}" if report.scores else " " * 15)
        parts.append(f"elapsed {clock(now - self._start)}")
        parts.append("eta " + ("-:--:--" if left is None else clock(left)))
        self.say("  ".join(parts))
        for reason, clients in (("did not answer", report.missing.dropped), ("answered too late", report.missing.late)):
            if clients:
                self.say(f"  {reason}: {', '.join(map(str, sorted(clients)))}")
        for client, problem in sorted(report.missing.rejected.items()):
            self.say(f"  the update of client {client} was rejected: {problem}")
        if math.isnan(report.loss):
            self.say("  no valid update; the model stays as it was")

    def summary(self, summary: dict[str, Any], run_dir: str) -> None:
        """Print the accuracy per domain and the mean, then where the results are."""
        title = (
            f"{summary['label']} on {summary['dataset']}, {summary['split']} accuracy after {summary['rounds']} rounds"
        )
        table = Table("domain", title=escape(title))
        metrics, means = summary["metrics"], summary["mean_metrics"]
        for name in ("top-1", *map(metric_name, metrics)):
            table.add_column(name, justify="right")
        for domain, accuracy in summary["accuracy"].items():
            others = [metric_value(values.get(domain)) for values in metrics.values()]
            table.add_row(escape(domain), f"{accuracy:.2%}", *others)
        table.add_section()
        table.add_row("mean", f"{summary['mean_accuracy']:.2%}", *map(metric_value, means.values()))
        self._console.print(table)
        for reason in ("dropped", "late", "rejected"):
            if summary[reason]:
                times = ", ".join(f"{client} ({times})" for client, times in summary[reason].items())
                self.say(f"{reason} clients, and in how many rounds: {times}")
        if summary["skipped_images"]:
            self.say(
                f"{summary['skipped_images']} images could not be read and were left out: skipped.parquet names them"
            )
        self.say(f"results in {run_dir}")
