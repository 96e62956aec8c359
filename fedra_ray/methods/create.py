"""The method that a configuration asks for, with everything around it."""

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import WRAPPERS, ExperimentConfig, WrapperConfig
from fedra_ray.federation.fleet import Fleet
from fedra_ray.methods.client_ranks import ClientRanks
from fedra_ray.methods.method import Method, Problem
from fedra_ray.methods.patch_embedding import PatchEmbedding
from fedra_ray.methods.wrapper import Wrapper


def create_method(config: ExperimentConfig, num_layers: int, fleet: Fleet) -> Method:
    """The configured method, within all that is put around it.

    Args:
        config: The experiment, with the depths of its clients.
        num_layers: Blocks of the full model.
        fleet: The clients.

    Raises:
        SettingError: if a target is no method, an option is unknown, or the fleet does not fit the model.
    """
    depths = config.fleet.depths
    if max(depths) > num_layers:
        allowed = f"every depth must be at most {num_layers}, the layers of {config.backbone.model}"
        raise SettingError("fleet.depths", depths, allowed)
    present = depths if config.fleet.dynamic else depths[: config.fleet.num_clients]
    problem = Problem(
        num_layers,
        tuple(present),
        fleet.size,
        config.rounds,
        tuple(fleet.shallowest_cohort()),
        num_domains=0 if config.partition.scheme == "iid" else len(fleet.domains),
    )
    method = instantiate(config.method.target, "method", Method, {"problem": problem, **config.method.options})
    if config.lora.patch_embedding:
        method = PatchEmbedding(method, config.aggregation.patch_embedding == "client_0")
    if config.lora.ranks:
        method = ClientRanks(method, config.lora.ranks)
    for section in WRAPPERS:
        wrapper: WrapperConfig = getattr(config, section)
        if wrapper.target is not None:
            method = instantiate(wrapper.target, section, Wrapper, {"inner": method, **wrapper.options})
    if config.backbone.quantization is not None and (method.changes_weights or method.reads_weights):
        allowed = (
            f"must be null: {config.method.label or config.method.name} computes with the frozen weights themselves"
        )
        raise SettingError("backbone.quantization", config.backbone.quantization, allowed)
    highest = max(method.ranks(range(num_layers)).values(), default=0)
    if highest > config.lora.rank:
        raise SettingError("lora.rank", config.lora.rank, f"must be at least {highest}, a rank that the method gives")
    return method
