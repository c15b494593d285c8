"""A module at other widths: new tensors, and attributes that follow their shapes."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, instancenorm, rnn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from fedma.errors import GraphError
from fedma.units.inputs import evaluating, keeping
from fedma.units.state import tensors


def rebuild(model: nn.Module, weights: Mapping[str, Tensor], *, handed_over: bool = False) -> nn.Module:
    """A new module like `model` that holds these weights, whatever their widths; `model` stays as it is.

    Tied tensors stay tied, `requires_grad` and training flags are kept, and the attributes of PyTorch's own modules
    (`in_features`, `out_channels`, `groups`, `num_features`, `hidden_size`, …) follow the shapes.

    Args:
        model: gives the structure, and the tensors that `weights` does not name.
        weights: tensors by the names of `fedma.units.state.tensors`, of any shapes that fit each other.
        handed_over: the new module may hold these very tensors; else it holds copies.

    Raises:
        GraphError: `weights` names a tensor that the model lacks, or the model cannot be copied.
    """
    own = tensors(model)
    strangers = sorted(weights.keys() - own.keys())
    if strangers:
        raise GraphError(
            f"{type(model).__name__} has no tensor named {strangers[0]}; its tensors are {sorted(own)[:5]}…"
        )
    news = {
        id(tensor): _like(tensor, weights[name], copy=not handed_over)
        for name, tensor in own.items()
        if name in weights
    }
    fresh = copied(model, news)
    _settle(fresh)
    return fresh


@contextlib.contextmanager
def holding(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """The model itself with these weights for a while, as `rebuild` would make it; nothing is copied."""
    new = {id(tensor): _like(tensor, weights[name]) for name, tensor in tensors(model).items() if name in weights}
    with keeping(model):
        for module in model.modules():
            for own in (module._parameters, module._buffers):
                held: dict[str, Any] = {name: new[id(tensor)] for name, tensor in own.items() if id(tensor) in new}
                own.update(held)
        _settle(model)
        yield model


def _settle(model: nn.Module) -> None:
    """Update what modules keep of their tensors."""
    with evaluating(model):
        for module in model.modules():
            _recompute(module)
            _follow(module)


def _recompute(module: nn.Module) -> None:
    """Recompute weights that a hook makes before every forward pass."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod | SpectralNorm | WeightNorm):
            hook(module, ())


def _follow(module: nn.Module) -> None:
    """Update a module's attributes from its tensors' shapes."""
    for kind, follow in _FOLLOW:
        if isinstance(module, kind):
            return follow(module)
    if type(module).__name__ == "Conv1D" and isinstance(module.weight, Tensor):
        nx, nf = module.weight.shape
        module.__dict__.update({"nx": nx, "nf": nf})
    return None


def copied(model: nn.Module, instead: Mapping[int, Tensor] = {}) -> nn.Module:
    """A copy that shares nothing.

    Tensors that a forward pass left in attributes are copied without their gradient history.

    Args: `instead` maps the id of a tensor to the tensor that replaces it in the copy.

    Raises:
        GraphError: Python cannot copy the model (it holds a lock, a file, a generator or the like).
    """
    try:
        with _Histories():
            return copy.deepcopy(model, dict(instead))
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise GraphError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {line}); move what Python cannot copy "
            "(a lock, an open file, a generator) out of the module, or give its class a `__deepcopy__`"
        ) from error


class _Histories(TorchFunctionMode):
    """Allows copies of tensors that PyTorch refuses to copy because they have a gradient history."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.__deepcopy__ or args[0].is_leaf:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone()
        return memo[id(tensor)]


def _like(old: Tensor, new: Tensor, *, copy: bool = True) -> Tensor:
    """`new`, or a copy of it, ready to replace `old`."""
    value = new.detach().to(device=old.device, dtype=old.dtype, copy=copy)
    return nn.Parameter(value, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else value


def _linear(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


def _bilinear(module: nn.Bilinear) -> None:
    module.out_features, module.in1_features, module.in2_features = module.weight.shape


def _conv(module: conv._ConvNd) -> None:
    """In a depthwise convolution every channel is a group. Other grouped convolutions keep their number of groups."""
    first, second = module.weight.shape[:2]
    if module.groups > 1 and module.groups == module.in_channels:
        per_group = second if module.transposed else module.out_channels // module.groups
        module.groups = first if module.transposed else first // per_group
    if module.transposed:
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.out_channels, module.in_channels = first, second * module.groups


def _statistics(module: "batchnorm._NormBase") -> None:
    for tensor in (module.weight, module.running_mean):
        if tensor is not None:
            module.num_features = tensor.shape[0]


def _layer_norm(module: "nn.LayerNorm | nn.RMSNorm") -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


def _group_norm(module: nn.GroupNorm) -> None:
    if module.weight is not None:
        module.num_channels = module.weight.shape[0]


def _embedding(module: "nn.Embedding | nn.EmbeddingBag") -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _prelu(module: nn.PReLU) -> None:
    module.num_parameters = module.weight.numel()


def _recurrent(module: rnn.RNNBase) -> None:
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    w_ih, w_hh = (module._parameters[name] for name in ("weight_ih_l0", "weight_hh_l0"))
    if w_ih is not None and w_hh is not None:
        module.hidden_size, module.input_size = w_ih.shape[0] // gates, w_ih.shape[1]
        module.proj_size = w_hh.shape[1] if module.proj_size else 0
    module._init_flat_weights()


def _cell(module: rnn.RNNCellBase) -> None:
    module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]


_FOLLOW: list[tuple[type | tuple[type, ...], Callable]] = [
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (conv._ConvNd, _conv),
    ((batchnorm._NormBase, instancenorm._InstanceNorm), _statistics),
    ((nn.LayerNorm, nn.RMSNorm), _layer_norm),
    (nn.GroupNorm, _group_norm),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    (nn.PReLU, _prelu),
    (rnn.RNNBase, _recurrent),
    (rnn.RNNCellBase, _cell),
]
"""How a module's attributes follow its tensors. The first class that fits counts."""
