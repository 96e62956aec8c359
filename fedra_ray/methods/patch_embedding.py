"""LoRA in the patch embedding beside that of the blocks: an oddity of the FedRA authors' code."""

from collections.abc import Sequence

from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper


class PatchEmbedding(Wrapper):
    """Every client adapts the patch embedding too, and sends that back only in rounds that have client 0.

    Args:
        inner: The wrapped method.
    """

    def __init__(self, inner: Method) -> None:
        super().__init__(inner)
        self.extra_names = (*inner.extra_names, "patch_embedding")

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        return (*self.inner.named(layers), "patch_embedding")

    def unsent(self, cohort: Sequence[int]) -> tuple[str, ...]:
        return self.inner.unsent(cohort) + (() if 0 in cohort else ("patch_embedding",))
