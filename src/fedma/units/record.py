"""Front end one: a recording of one forward pass, operation by operation, which any model that runs allows."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fedma.units.axes import pin
from fedma.units.inputs import Inputs, own_all, results
from fedma.units.state import tensors
from fedma.units.tracer import Tracer
from fedma.units.values import Value
from fedma.units.walk import leaves


def trace(model: nn.Module, inputs: Inputs) -> Tracer:
    """What the operations of one forward pass say."""
    recorder = Recorder(hidden=inputs.hidden)
    owned = own_all(recorder.tracer, model)
    for name, tensor in tensors(model).items():
        recorder.label(tensor, owned[name])
    for tensor in leaves((inputs.args, inputs.kwargs)):
        if isinstance(tensor, Tensor):
            recorder.label(tensor, recorder.tracer.fixed(tensor.shape, "input"))
    with torch.no_grad(), _unfused(), _paths(model, recorder), _Exits(recorder), recorder:
        result = model(*inputs.args, **inputs.kwargs)
    for tensor in results(result):
        if isinstance(tensor, Tensor):
            recorder.tracer.output(recorder.value(tensor))
    return recorder.tracer


class Recorder(TorchDispatchMode):
    """Runs every operation as it is and tells the tracer of it.

    Args: `hidden` says that inputs stand outside tensors, so that tensors which no operation made may show them.
    """

    def __init__(self, *, hidden: bool = False) -> None:
        super().__init__()
        self.tracer = Tracer()
        self.hidden = hidden
        self.path: list[str] = []
        self._labels: dict[int, tuple[Tensor, Value]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keeps the compiler from being imported."""
        return False

    def label(self, tensor: Tensor, value: Value) -> None:
        """Remember what a tensor carries (and the tensor, so that its identity is not given to another)."""
        self._labels[id(tensor)] = (tensor, value)

    def value(self, tensor: Tensor) -> Value:
        """What a tensor carries; a tensor that no operation made is a constant."""
        known = self._labels.get(id(tensor))
        if known is None or known[1].shape != tuple(tensor.shape):
            given = self.hidden and tensor.numel() > 1
            self.label(tensor, self.tracer.fixed(tensor.shape, "input") if given else self.tracer.constant(tensor))
        return self._labels[id(tensor)][1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        values = pytree.tree_map_only(Tensor, self.value, (list(args), dict(kwargs)))
        result = func(*args, **kwargs)
        several = isinstance(result, list | tuple)
        results = list(result) if several else [result]
        if not any(isinstance(r, Tensor) for r in results):
            if result is not None:
                self.leaves_torch(values)
            return result
        shapes = [tuple(r.shape) if isinstance(r, Tensor) else None for r in results]
        made = self.tracer.apply(func, values[0], values[1], shapes, where=self.path[-1] if self.path else "")
        for tensor, value in zip(results, made, strict=True):
            if value is not None and not self._is_argument(tensor, args, kwargs):
                self.label(tensor, value)
        return result

    def _is_argument(self, tensor: Tensor, args: Any, kwargs: Any) -> bool:
        """Whether an operation in place gave its own operand back, which keeps its label."""
        return any(tensor is given for given in pytree.tree_leaves((args, kwargs)))

    def leaves_torch(self, values: Any) -> None:
        """These values became something that is no tensor: what decided it must stay in place."""
        for value in pytree.tree_leaves(values, is_leaf=lambda x: isinstance(x, Value)):
            if isinstance(value, Value):
                for symbol in value.symbols:
                    pin(symbol, "read by Python code")


class _Exits(TorchFunctionMode):
    """Notices what turns a tensor into Python's or NumPy's numbers without any operation."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.tolist, Tensor.numpy, Tensor.__array__):
            self.recorder.leaves_torch(self.recorder.value(args[0]))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Recurrent layers step by step, in operations that have rules."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextlib.contextmanager
def _paths(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Keeps the path of the module that is running, and sees recurrent layers begin."""

    def enter(module: nn.Module, path: str) -> None:
        recorder.path.append(path)
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            # Taken step by step, but one layer all the same: its tensors come in their own order, one after another.
            for parameter in module.parameters():
                recorder.tracer.use(recorder.value(parameter))

    def leave(*_: Any) -> None:
        recorder.path.pop()

    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda module, _, path=path: enter(module, path)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
