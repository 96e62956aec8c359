"""LoRA in the patch embedding beside that of the blocks, as the FedRA authors' code has it."""

from collections.abc import Sequence

from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper


class PatchEmbedding(Wrapper):
    """Every client adapts the patch embedding too.

    Args:
        inner: The wrapped method.
        needs_client_0: Whether clients send that back only in rounds that have client 0: an oddity of the authors'
            code of FedRA; their other methods average it every round.
    """

    def __init__(self, inner: Method, needs_client_0: bool = False) -> None:
        super().__init__(inner)
        self._needs_client_0 = needs_client_0
        self.extra_names = (*inner.extra_names, "patch_embedding")

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        return (*self.inner.named(layers), "patch_embedding")

    def unsent(self, cohort: Sequence[int]) -> tuple[str, ...]:
        kept = self._needs_client_0 and 0 not in cohort
        return self.inner.unsent(cohort) + ("patch_embedding",) * kept
