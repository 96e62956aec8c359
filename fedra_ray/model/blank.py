"""Models whose random weights are not drawn, because all of them are about to be replaced."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

#: Functions that fill a tensor in place with random numbers, those of torch.nn.init among them. timm draws truncated
#: normal ones from uniform ones, by `erfinv_`, which takes most of the time.
_DRAWING = {
    *("uniform_", "normal_", "trunc_normal_", "erfinv_"),
    *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"),
}


class Blank(TorchFunctionMode):
    """Inside it, tensors keep what is in their memory where they would be filled with random numbers.

    Unlike on the meta device, what a model computes for itself, such as an index of relative positions, is computed.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, unless it draws; such a one is given the tensor first, or as `tensor`."""
        keywords = keywords or {}
        if getattr(function, "__name__", "") not in _DRAWING:
            return function(*arguments, **keywords)
        filled: Tensor = arguments[0] if arguments else keywords["tensor"]
        return filled
