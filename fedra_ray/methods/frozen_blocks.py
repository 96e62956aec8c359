"""Sub-models in which the blocks that a client does not train are run frozen, instead of being left out.

The regime of Fed-HeLLo (arXiv 2506.12213), LEGEND (arXiv 2412.20004) and FedQuad (arXiv 2506.01001). The forward pass
is that of the whole model; the price is arithmetic, and the memory of all blocks unless they are streamed.
"""

from collections.abc import Sequence

from fedra_ray.config.errors import SettingError
from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper


class FrozenBlocks(Wrapper):
    """Clients run all blocks of the evaluated model, and train those that the wrapped method gives them.

    Streamed, a client has its own blocks in memory and passes the others through one at a time: before its first block
    nothing is kept of them, behind it their inputs are, from which they are run again in the backward pass. The result
    is the same; memory is that of the absent regime, one block and the inputs, for the arithmetic of another forward
    pass. The blocks must be in its storage, or be fetched in every step.

    Recomputed, its own blocks are streamed too. Then the depth of a client no longer bounds what it can train: all
    layers take the memory of one block, of the inputs of all and of the trained values, for three forward passes a step
    in place of two (Chen et al. 2016, arXiv 1604.06174, with a block for a segment). The result is the same.

    Args:
        inner: The wrapped method.
        streamed: Whether the other blocks are streamed.
        recomputed: Whether all blocks are, the trained ones too.

    Raises:
        SettingError: if that has several heads, each of which is trained at the end of a sub-model of its own, or runs
            something in place of the blocks that a client lacks.
    """

    def __init__(self, inner: Method, streamed: bool = False, recomputed: bool = False) -> None:
        super().__init__(inner)
        self.streams = streamed or recomputed
        self.recomputes = recomputed
        if len(inner.head_names) > 1:
            raise SettingError("submodel", "frozen", f"{inner.head_names} end sub-models; set it to absent")
        if inner.fills_gaps:
            raise SettingError("submodel", "frozen", "the method fills the gaps of absent blocks; set it to absent")

    def blocks(self, layers: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted({*self.evaluated_layers, *self.inner.blocks(layers)}))
