"""How a model's arithmetic is done: where, in which memory layout, how precisely."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedma.data import model_inputs
from fedma.errors import SlowWarning
from fedma.units.inputs import at_rest

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Compute:
    """How the arithmetic is done; what is computed stays the same, up to rounding.

    Attributes:
        device: "cpu", "cuda", "cuda:1", "mps".
        channels_last: store feature maps pixel by pixel, with all channels of a pixel together. Convolutions and
            pooling are faster then; shapes stay as they are.
        precision: "fp32" or "bf16". With "bf16" weights stay float32, but matrix products, convolutions and recurrent
            layers are computed in bfloat16. Processors with AMX or tensor cores are several times as fast then.
    """

    device: str = "cpu"
    channels_last: bool = False
    precision: Precision = "fp32"

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, in the layout; in place."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.to(self.device)

    def inputs(self, batch: Tensor) -> Tensor:
        """A batch as models take it, on the device, in the layout."""
        batch = model_inputs(self.send(batch))
        return batch.contiguous(memory_format=torch.channels_last) if self.channels_last else batch

    def batch(self, batch: Any) -> Any:
        """Every tensor of a batch as `inputs`, however they are nested; truth values and other objects as they are."""
        if isinstance(batch, Tensor):
            if batch.dtype == torch.bool:
                return self.send(batch)
            images = batch.dim() == 4 and batch.is_floating_point()
            return self.inputs(batch) if images else model_inputs(self.send(batch))
        if isinstance(batch, Mapping):
            return {name: self.batch(part) for name, part in batch.items()}
        if isinstance(batch, (tuple, list)):
            parts = [self.batch(part) for part in batch]
            return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
        return batch

    def send(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; a GPU goes on with earlier work meanwhile."""
        if not self.device.startswith("cuda") or tensor.is_cuda:
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def precisely(self) -> AbstractContextManager[object]:
        """The context for forward passes."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def choose(model: nn.Module, example: Tensor, *, device: str = "cpu", precision: Precision = "fp32") -> Compute:
    """The fastest way to run a model: channels-last where it has 2-d convolutions and runs that way.

    A model that calls `.view` on a feature map does not; a `SlowWarning` says so.

    Args:
        model: the model, on the CPU; modes, layouts and whatever its forward pass changes are as before afterwards.
        example: a few inputs.
        device: of the result.
        precision: of the result.
    """
    plain = Compute(device, precision=precision)
    if example.dim() != 4 or not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return plain
    trial = Compute(channels_last=True)
    try:
        with at_rest(model), _layouts_kept(model):
            trial.place(model)(trial.inputs(example))
    except RuntimeError as error:
        warnings.warn(
            f"{type(model).__name__} does not run in channels-last layout, so its convolutions train slower "
            f"({str(error).splitlines()[0]}); flatten its feature maps with .flatten or .reshape instead of .view",
            SlowWarning,
            stacklevel=2,
        )
        return plain
    return Compute(device, True, precision)


@contextmanager
def _layouts_kept(model: nn.Module) -> Iterator[None]:
    """Inside, parameters may be moved in memory; afterwards each has its own memory again."""
    own = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, memory in own:
            parameter.data = memory
