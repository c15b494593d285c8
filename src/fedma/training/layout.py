"""The memory layout in which convolutions are fast."""

import torch
from torch import Tensor, nn


def fast_layout(model: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs in channels-last order, and the model too, where it has 2-d convolutions and runs that way.

    Only the layout in memory changes: shapes stay, results differ by rounding. A model that calls `.view` on a
    feature map does not run in this layout; it is left as it was.
    """
    if inputs.dim() != 4 or not any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return inputs
    faster = inputs.contiguous(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(faster[:2])
    except RuntimeError:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return inputs
    finally:
        model.train(training)
    return faster
