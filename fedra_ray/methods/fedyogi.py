"""FedYogi: FedAdam whose second moment moves by the sign of its error. Reddi et al., ICLR 2021, arXiv 2003.00295."""

import numpy as np

from fedra_ray.federation.state import Vector
from fedra_ray.methods.fedadam import FedAdam


class FedYogi(FedAdam):
    """As FedAdam, with v = v - (1 - beta2) Delta^2 sign(v - Delta^2) (algorithm 2)."""

    def second_moment(self, second: Vector, square: Vector) -> Vector:
        return np.asarray(second - (1 - self.beta2) * square * np.sign(second - square), dtype=np.float32)
