"""What leaves the tracer's sight is followed, or stays in place for a reason that is named."""

import copy
import ctypes
import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import checkpoint

from fedma.units import units
from fedma.units.inputs import Inputs, at_rest
from fedma.units.record import record
from units.written import Net, X, moving

pytestmark = pytest.mark.filterwarnings(
    "ignore::fedma.errors.PinnedWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)

FOLLOWED = None
READ = "read by Python code"
EXPOSED = "its memory is read outside PyTorch"
BLIND = "something was computed out of sight (in another thread?)"
RULE = "no rule for"


def saved(h):
    buffer = io.BytesIO()
    torch.save({"h": h}, buffer)
    buffer.seek(0)
    return torch.load(buffer)["h"]


def in_thread(work):
    def way(h):
        results = []
        thread = threading.Thread(target=lambda: results.append(work(h)))
        thread.start()
        thread.join()
        return h if results[0] is None else results[0]

    return way


def in_pool(h):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.tanh, h).result()


WAITING = ThreadPoolExecutor(1)


def pointed(h):
    pointer = ctypes.cast(h.data_ptr(), ctypes.POINTER(ctypes.c_float))
    return torch.from_numpy(np.ctypeslib.as_array(pointer, (4, 5)).copy())


def stored(h):
    return torch.empty(0).set_(h.untyped_storage(), 0, (4, 5), (5, 1))


def store_copied(h):
    return torch.empty(0).set_(h.untyped_storage().clone(), 0, (4, 5), (5, 1))


class Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        return torch.tanh(h)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class NumpyTanh(Tanh):
    @staticmethod
    def forward(ctx, h):
        return torch.from_numpy(np.tanh(h.numpy()))


class Kind(torch.Tensor):
    """A subclass that adds nothing."""


class Reversing(torch.Tensor):
    """A subclass whose tanh reverses, decided above the operations."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        return result.flip(-1) if function is torch.tanh else result


class Wrapper(torch.Tensor):
    """A subclass that holds another tensor, whose tanh reverses, decided below the operations."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, strides=held.stride())
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        result = function(*(each.held if isinstance(each, cls) else each for each in args), **(kwargs or {}))
        return cls(result.flip(-1) if function is torch.ops.aten.tanh.default else result)


WAYS = {
    "deepcopy": (copy.deepcopy, EXPOSED),
    "copy": (copy.copy, EXPOSED),
    "pickle": (lambda h: pickle.loads(pickle.dumps(h)), EXPOSED),
    "torch.save": (saved, EXPOSED),
    "thread": (in_thread(torch.tanh), BLIND),
    "thread that writes": (in_thread(lambda h: h.mul_(torch.arange(5.0))), BLIND),
    "thread that gives a number": (lambda h: h * in_thread(lambda h: h[0, 0].item())(h), BLIND),
    "pool": (in_pool, BLIND),
    "pool that waits": (lambda h: WAITING.submit(torch.tanh, h).result(), BLIND),
    "dlpack": (torch.from_dlpack, READ),
    "dlpack capsule": (lambda h: torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(h)), FOLLOWED),
    "dlpack to NumPy": (lambda h: torch.from_numpy(np.tanh(np.from_dlpack(h))), EXPOSED),
    "numpy": (lambda h: torch.from_numpy(h.numpy() * 1), READ),
    "numpy, its memory": (lambda h: torch.from_numpy(h.numpy()), READ),
    "asarray": (lambda h: torch.as_tensor(np.asarray(h)[:, ::-1].copy()), READ),
    "array": (lambda h: torch.tensor(np.array(h)), READ),
    "NumPy's function": (lambda h: torch.as_tensor(np.tanh(h)), READ),
    "frombuffer": (lambda h: torch.frombuffer(bytearray(h.numpy().tobytes()), dtype=h.dtype).view(4, 5), READ),
    "tolist": (lambda h: torch.tensor(h.tolist()), READ),
    "item": (lambda h: h * h[0, 0].item(), "selected"),
    "float": (lambda h: torch.tensor([[float(unit) for unit in row] for row in h]), "unbound"),
    "int": (lambda h: h * torch.tensor([int(unit) for unit in h[0]]), "unbound"),
    "bool": (lambda h: h * torch.tensor([1.0 if unit > 0 else 0.0 for unit in h[0]]), "unbound"),
    "argmax": (lambda h: h + int(h[0].argmax()), "positions found by argmax"),
    "tensor of tensors": (lambda h: torch.tensor([list(row) for row in h]), "unbound"),
    "as_tensor of tensors": (lambda h: torch.as_tensor([list(row) for row in h]), "unbound"),
    "new_tensor of tensors": (lambda h: h.new_tensor([list(row) for row in h]), "unbound"),
    "legacy constructor": (lambda h: torch.FloatTensor([list(row) for row in h]), BLIND),
    "data_ptr": (pointed, EXPOSED),
    "storage": (stored, EXPOSED),
    "storage, copied": (store_copied, EXPOSED),
    "storage, as a list": (lambda h: torch.tensor(list(h.storage())).view(4, 5), EXPOSED),
    "data": (lambda h: h.data.tanh(), FOLLOWED),
    "fork": (lambda h: torch.jit.wait(torch.jit.fork(torch.tanh, h)), FOLLOWED),
    "checkpoint": (lambda h: checkpoint.checkpoint(torch.tanh, h, use_reentrant=False), FOLLOWED),
    "own gradient": (Tanh.apply, FOLLOWED),
    "own gradient, in NumPy": (NumpyTanh.apply, READ),
    "zeros that take no memory": (lambda h: torch.func.jvp(lambda v: v * 2, (h,), (h,))[1], READ),
    "vmap": (torch.vmap(torch.tanh), FOLLOWED),
    "subclass": (lambda h: torch.tanh(h.as_subclass(Kind)).as_subclass(torch.Tensor), FOLLOWED),
    "subclass with functions": (lambda h: torch.tanh(h.as_subclass(Reversing)).as_subclass(torch.Tensor), "flip"),
    "subclass with operations": (lambda h: torch.tanh(Wrapper(h)).held, "flip"),
    "sparse": (lambda h: (h.to_sparse() * 2).to_dense(), RULE),
    "compressed": (lambda h: h.to_sparse_csr().to_dense(), RULE),
    "nested": (lambda h: torch.nested.nested_tensor([h[:2], h[2:]]).to_padded_tensor(0.0).view(4, 5), RULE),
    "quantised": (lambda h: torch.quantize_per_tensor(h, 0.1, 0, torch.quint8).dequantize(), RULE),
    "complex": (lambda h: torch.view_as_real(torch.complex(h, h))[..., 1], FOLLOWED),
    "complex view": (lambda h: torch.view_as_complex(torch.stack([h, h], -1)).abs(), FOLLOWED),
    "parameter": (nn.Parameter, FOLLOWED),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_hidden_tensor_is_followed_or_stays_for_a_reason(name):
    leave, reason = WAYS[name]
    widths, graph = moving(lambda s, x: s.out(leave(s.a(x))) + s.out(s.a(x) * 2))
    if reason is FOLLOWED:
        assert widths == {"a": 5}
    else:
        assert not widths
        assert graph.fixed["a.weight", 0].startswith(reason)


def replaced(change):
    def way(s, x):
        h, other = s.a(x), torch.tanh(s.b(x))
        change(h, other)
        return s.out(h)

    return way


@pytest.mark.parametrize(
    "change",
    [
        lambda h, other: setattr(h, "data", other),
        lambda h, other: h.set_(other),
        torch.utils.swap_tensors,
        lambda h, other: h.copy_(other),
    ],
)
def test_a_tensor_that_takes_the_memory_of_another_is_the_other(change):
    widths, graph = moving(replaced(change))
    assert "b" in widths or graph.groups_on("b.weight", 0)
    assert graph.groups_on("b.weight", 0) == graph.groups_on("out.weight", 1)


def test_only_what_was_replaced_by_data_moves():
    widths, graph = moving(replaced(lambda h, other: setattr(h, "data", other)))
    assert widths == {"b": 5}
    assert graph.fixed["a.weight", 0] == "not used in the forward pass"


def functional(s, x):
    return s.out(torch.func.functional_call(copy.deepcopy(s.a), {"weight": s.b.weight}, (x,)))


def reloaded(s, x):
    buffer = io.BytesIO()
    torch.save(s.a.state_dict(), buffer)
    buffer.seek(0)
    layer = nn.Linear(3, 5)
    layer.load_state_dict(torch.load(buffer))
    return s.out(layer(x))


@pytest.mark.parametrize(
    ("way", "moves"),
    [
        (functional, ["b.weight", "a.bias"]),
        (lambda s, x: s.out(copy.deepcopy(s.a)(x)), ["a.weight", "a.bias"]),
        (lambda s, x: s.out(x @ s.a.weight.data.t()), ["a.weight"]),
        (lambda s, x: s.out(x @ torch.from_numpy(s.a.weight.detach().numpy()).t()), []),
        (lambda s, x: s.out(x @ s.a.weight.detach().as_strided((5, 3), (3, 1)).t()), ["a.weight"]),
        (reloaded, []),
        (lambda s, x: s.out(in_thread(lambda _: s.a(x))(x)), []),
    ],
)
def test_parameters_that_leave_are_followed_or_stay(way, moves):
    graph = moving(way)[1]
    assert sorted(name for name in graph.layouts if graph.groups_on(name, 0)) == sorted(moves)


def test_what_only_a_recording_sees_is_not_exported():
    model = Net(replaced(lambda h, other: setattr(h, "data", other)))
    with pytest.raises(NotImplementedError, match="memory changes hands"):
        units(model, X, front_end="export", verify=False)


def test_a_model_that_raises_in_a_hook_and_goes_on_is_recorded():
    def refuse(module, args):
        raise ValueError("not today")

    def way(s, x):
        try:
            s.b(x)
        except ValueError:
            return s.out(s.a(x))

    model = Net(way)
    model.b.register_forward_pre_hook(refuse)
    assert units(model, X, verify=False).widths == {"a": 5}


def test_a_recording_holds_operations_in_order_with_what_they_were_given():
    model = Net(lambda s, x: s.out(torch.relu(s.a(x))))
    with at_rest(model):
        program = record(model, Inputs.of(X))
    assert [operation.op.__name__ for operation in program.operations] == [
        "t.default",
        "addmm.default",
        "relu.default",
        "t.default",
        "addmm.default",
    ]
    linear = program.operations[1]
    assert [program.tensors[number].names or program.tensors[number].kind for number in linear.given] == [
        ("a.bias",),
        "input",
        "made",
    ]
    assert linear.where == "a"
    assert list(program.live()) == list(range(5))
    assert [program.tensors[number].shape for number in program.outputs] == [(4, 2)]
