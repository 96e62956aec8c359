r"""Say what an experiment would cost, without running it.

Per client and round: parameters, bytes, FLOPs and memory. In all: data moved, time
at plan.tflops on plan.devices, and layers without a holder. With runtime.num_gpus
also the slots that fit a GPU of plan.gpu_memory_gb, and with fleet.devices the time
on simulated devices. plan.examples and plan.classes stand in for a data set that is
not at hand. The other settings are those of `fedra-ray run`.

  fedra-ray plan experiment=paper/domainnet_vit_feature_skew \
      dataset.root=/data/DomainNet runtime.num_gpus=0.5
"""

from argparse import ArgumentParser, Namespace

from fedra_ray.cli.compose import add_config_option, compose_as
from fedra_ray.runtime.uncollected import uncollected

OPERANDS = ("SETTING=VALUE", "settings of the experiment, and plan.* for what the plan assumes")


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_config_option(parser)


def carry_out(settings: list[str], options: Namespace) -> None:
    """Print the plan as tables."""
    with uncollected():
        from fedra_ray.cost.plan import PlannedExperiment, plan_experiment
        from fedra_ray.cost.tables import show

    config = compose_as(PlannedExperiment, settings, options.config)
    show(plan_experiment(config), config)
