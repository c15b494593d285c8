"""Hidden tensors that leave PyTorch's sight and come back."""

import copy
import ctypes
import functools
import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from units.hostile.case import Small, case


@case()
def deep_copied(s, x):
    return s.out(copy.deepcopy(torch.tanh(s.a(x))))


@case()
def copied(s, x):
    return s.out(copy.copy(torch.tanh(s.a(x))))


@case()
def deep_copied_in_a_list(s, x):
    return s.out(copy.deepcopy([torch.tanh(s.a(x)), 3])[0])


@case()
def saved_and_loaded(s, x):
    buffer = io.BytesIO()
    torch.save({"h": torch.tanh(s.a(x))}, buffer)
    buffer.seek(0)
    return s.out(torch.load(buffer, weights_only=True)["h"])


@case()
def pickled(s, x):
    return s.out(pickle.loads(pickle.dumps(torch.tanh(s.a(x)))))


@case()
def in_a_thread(s, x):
    h, found = s.a(x), []
    worker = threading.Thread(target=lambda: found.append(torch.tanh(h).detach().flip(-1)))
    worker.start()
    worker.join()
    return s.out(found[0])


@case()
def in_a_pool_of_threads(s, x):
    h = s.a(x).detach()
    with ThreadPoolExecutor(1) as pool:
        return s.out(pool.submit(lambda: h * torch.arange(5)).result())


@case()
def written_in_a_thread(s, x):
    h = s.a(x).detach().clone()
    worker = threading.Thread(target=lambda: h[:, 1].zero_())
    worker.start()
    worker.join()
    return s.out(h)


@case()
def the_layer_itself_in_a_thread(s, x):
    found = []
    worker = threading.Thread(target=lambda: found.append(s.a(x).detach()))
    worker.start()
    worker.join()
    return s.out(torch.tanh(found[0]))


@case()
def dlpack(s, x):
    return s.out(torch.from_dlpack(torch.tanh(s.a(x)).detach()))


@case()
def dlpack_through_numpy(s, x):
    return s.out(torch.from_numpy(np.from_dlpack(torch.tanh(s.a(x)).detach()).copy()))


@case()
def numpy(s, x):
    return s.out(torch.from_numpy(np.tanh(s.a(x).detach().numpy())))


@case()
def numpy_by_a_function(s, x):
    return s.out(torch.as_tensor(np.flip(np.asarray(s.a(x).detach()), -1).copy()))


@case()
def written_through_numpy(s, x):
    h = torch.tanh(s.a(x)).detach()
    h.numpy()[:, 1] = 0.2
    return s.out(h)


@case()
def a_parameter_through_numpy(s, x):
    w = torch.from_numpy(s.a.weight.detach().numpy().copy())
    return s.out(torch.tanh(x @ w.t()))


@case()
def a_bias_as_a_list(s, x):
    return s.out(torch.tanh(x @ s.a.weight.t() + torch.tensor(s.a.bias.tolist(), dtype=x.dtype)))


@case()
def a_list_of_floats(s, x):
    rows = torch.tanh(s.a(x)).tolist()
    return s.out(torch.tensor(rows, dtype=x.dtype))


@case()
def item_by_item(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.tensor([[h[i, j].item() for j in range(5)] for i in range(4)], dtype=x.dtype))


@case()
def iterated(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.tensor([[float(v) for v in row] for row in h], dtype=x.dtype))


@case()
def formatted_and_parsed(s, x):
    text = str([float(f"{v:.17g}") for v in torch.tanh(s.a(x)).flatten().tolist()])
    return s.out(torch.tensor([float(v) for v in text.strip("[]").split(",")], dtype=x.dtype).view(4, 5))


@case()
def by_its_memory_address(s, x):
    h = torch.tanh(s.a(x)).contiguous()
    kind = ctypes.c_double if h.dtype == torch.float64 else ctypes.c_float
    array = np.ctypeslib.as_array(ctypes.cast(h.data_ptr(), ctypes.POINTER(kind)), shape=(4, 5)).copy()
    return s.out(torch.from_numpy(array))


@case()
def by_its_storage_as_a_list(s, x):
    h = torch.tanh(s.a(x)).contiguous()
    return s.out(torch.tensor(list(h.storage()), dtype=x.dtype).view(4, 5))


@case()
def bytes_of_the_storage(s, x):
    h = torch.tanh(s.a(x)).contiguous()
    raw = bytes(h.untyped_storage().tolist())
    return s.out(torch.frombuffer(bytearray(raw), dtype=h.dtype).view(4, 5).clone())


@case()
def from_a_buffer(s, x):
    h = torch.tanh(s.a(x)).detach().contiguous()
    return s.out(torch.frombuffer(memoryview(h.numpy()), dtype=h.dtype).view(4, 5))


@case()
def a_weight_deep_copied(s, x):
    layer = copy.deepcopy(s.a)
    return s.out(torch.tanh(layer(x)))


@case()
def a_layer_built_in_the_forward(s, x):
    layer = torch.nn.Linear(5, 5).to(x.dtype)
    layer.load_state_dict(s.c.state_dict())
    return s.out(torch.tanh(layer(torch.tanh(s.a(x)))))


@case()
def a_state_dict_read(s, x):
    state = s.state_dict()
    return s.out(torch.tanh(x @ state["a.weight"].t() + state["a.bias"]))


@case("a.weight")
def parameters_listed_and_stacked(s, x):
    weight, bias = dict(s.named_parameters())["a.weight"], dict(s.named_parameters())["a.bias"]
    return s.out(torch.tanh(torch.nn.functional.linear(x, weight, bias)))


@case(model=True)
def a_hook_that_closes_over_its_module():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    s.a.register_forward_hook(lambda module, args, result: result * s.v5)
    return s


@case(model=True)
def a_closure_over_a_layer_of_the_original():
    s = Small()
    layer = s.a
    s.run = lambda other, x: other.out(torch.tanh(layer(x)))
    return s


@case(model=True)
def a_closure_over_a_weight_of_the_original():
    s = Small()
    weight = s.w5
    s.run = lambda other, x: other.out(torch.tanh(other.a(x)) @ weight)
    return s


@case(model=True)
def a_default_argument_that_holds_a_weight():
    s = Small()

    def run(other, x, weight=s.v5):
        return other.out(torch.tanh(other.a(x)) * weight)

    s.run = run
    return s


@case(model=True)
def a_partial_over_a_bound_method():
    s = Small()
    s.run = functools.partial(lambda layer, other, x: other.out(torch.tanh(layer(x))), s.a)
    return s


@case(model=True)
def a_tensor_kept_in_a_plain_list():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x)) * s.aside[0]))
    s.aside = [torch.linspace(0.1, 1.0, 5)]
    return s


@case(model=True)
def a_tensor_of_the_module_level():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)) * _TABLE.to(x.dtype)))


_TABLE = torch.linspace(0.1, 1.0, 5)


@case(model=True)
def a_layer_in_a_plain_list():
    s = Small(lambda s, x: s.out(torch.tanh(s.hidden[0].to(x.dtype)(x))))
    s.hidden = [torch.nn.Linear(3, 5)]
    return s
