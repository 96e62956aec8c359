"""What a server has a worker compute on images of its own, without Ray."""

import numpy as np

from fedra_ray.data.feeding import AnyExamples
from fedra_ray.federation.messages import ServerTask
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.methods.method import Method
from fedra_ray.model.submodel import SubModel


def compute(
    model: SubModel,
    method: Method,
    examples: AnyExamples,
    task: ServerTask,
    sent: ServerState,
    batch_size: int,
    seed: int,
) -> Arrays:
    """The method's result for a server task, from the global values; its extras may be trained.

    Args:
        model: The shared stack, without dropout; on return it holds whatever the method has made of it.
        method: Computes.
        examples: The images that the server has of the task's domain.
        task: What to compute.
        sent: The global adapter, and the arrays that the method's server sends along.
        batch_size: Images per batch.
        seed: Seed of the experiment.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    rng = generator(seed, Purpose.SERVER, task.round, task.domain)
    model.load(sent.values, model.layout.held((), method.extra_names))
    model.eval()
    orders = [
        order
        for _ in range(task.passes)
        for order in np.split(rng.permutation(len(examples)), range(batch_size, len(examples), batch_size))
    ]
    return method.compute(model, examples.batches(orders), task, sent)
