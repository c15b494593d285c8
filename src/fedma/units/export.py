"""Front end two: reads the graph of `torch.export`, in which recurrent layers and attention are single operations.

It is slower than a recording, above all the first time in a process, which imports the compiler. But a layer that is
one operation here may be several in a recording, which reveal less.
"""

import contextlib
import logging
import operator
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from fedma.units import record
from fedma.units.axes import pin
from fedma.units.inputs import Inputs, own_all
from fedma.units.state import tensors
from fedma.units.tracer import Tracer
from fedma.units.values import Shape, Value, values_in


def trace(model: nn.Module, inputs: Inputs) -> Tracer:
    """A tracer that has read an exported graph.

    Raises:
        Exception: whatever `torch.export` raises when it refuses a model (for a branch on a tensor's value, say).
    """
    if record.record(model, inputs).unseen:
        raise NotImplementedError("memory changes hands in ways that an exported graph does not show")
    with _quiet():
        program = torch.export.export(model, inputs.args, inputs.kwargs, strict=False)
    return _Walk(model, program).run()


class _Nowhere:
    """A stream that discards all text."""

    def write(self, text: str) -> int:
        """Discard the text."""
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and prints of `torch.export`, which describe its internals."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(_Nowhere()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


class _Walk:
    """One pass over an exported program."""

    def __init__(self, model: nn.Module, program: torch.export.ExportedProgram) -> None:
        self.program = program
        self.tracer = Tracer()
        owned = own_all(self.tracer, model)
        names = {id(tensor): name for name, tensor in tensors(model).items()}
        aliases = {
            name: names[id(tensor)]
            for named in (model.named_parameters, model.named_buffers)
            for name, tensor in named(remove_duplicate=False)
        }
        signature = program.graph_signature
        targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.states = {
            placeholder: owned[aliases[target]] for placeholder, target in targets.items() if target in aliases
        }
        self.lifted = {**targets, **signature.inputs_to_lifted_tensor_constants}

    def run(self) -> Tracer:
        env: dict[fx.Node, Any] = {}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                env[node] = self._placeholder(node)
        results = self._graph(self.program.graph_module, env)
        signature = self.program.graph_signature
        for spec, result in zip(signature.output_specs, results, strict=True):
            if isinstance(result, Value) and spec.kind is not torch.export.graph_signature.OutputKind.BUFFER_MUTATION:
                self.tracer.output(result)
        return self.tracer

    def _placeholder(self, node: fx.Node) -> Any:
        if node.name in self.states:
            return self.states[node.name]
        if node.name in self.lifted:
            constant = self.program.constants.get(self.lifted[node.name])
            return self.tracer.constant(constant) if isinstance(constant, Tensor) else constant
        value = node.meta.get("val")
        return self.tracer.fixed(value.shape, "input", value.dtype) if isinstance(value, Tensor) else value

    def _graph(self, module: fx.GraphModule, env: dict[fx.Node, Any]) -> Any:
        for node in module.graph.nodes:
            if node.op == "get_attr":
                found = _attribute(module, node.target)
                env[node] = self.tracer.constant(found) if isinstance(found, Tensor) else found
            elif node.op == "call_function":
                env[node] = self._call(node, env)
            elif node.op == "output":
                return fx.node.map_arg(node.args[0], env.__getitem__)
        return None

    def _call(self, node: fx.Node, env: dict[fx.Node, Any]) -> Any:
        args, kwargs = fx.node.map_arg((list(node.args), dict(node.kwargs)), env.__getitem__)
        if node.target is operator.getitem:
            container: Any = args[0]
            return container[args[1]]
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return self._nested(node, args)
        results = node.meta.get("val")
        several = isinstance(results, list | tuple)
        shapes = [_shape(result) for result in (results if isinstance(results, list | tuple) else [results])]
        if not hasattr(node.target, "_schema") and values_in((args, kwargs)):
            raise NotImplementedError(f"{node.target} in {_path(node)}")
        silent = not any(shape is not None for shape in shapes)
        if not hasattr(node.target, "_schema") or (silent and not node.target._schema.is_mutable):
            if results is not None and not str(node.target).startswith("aten.sym_"):
                _leaves_torch(args, kwargs)
            return results
        if results is None:
            shapes = []
        values = self.tracer.apply(node.target, args, kwargs, shapes, where=_path(node))
        for value, made in zip(values, results if isinstance(results, list | tuple) else [results], strict=False):
            if value is not None:
                value.dtype = made.dtype
        return values if several or not values else values[0]

    def _nested(self, node: fx.Node, args: list[Any]) -> Any:
        """Read a part of the graph under another mode (no gradients, autocast): its operations are the same."""
        body = next((arg for arg in args if isinstance(arg, fx.GraphModule)), None)
        if body is None or not str(node.target).startswith("wrap"):
            raise NotImplementedError(f"{node.target} in {_path(node)}")
        given = args[args.index(body) + 1 :]
        names = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
        return self._graph(body, dict(zip(names, given, strict=True)))


def _attribute(module: nn.Module, target: str) -> Any:
    *path, last = target.split(".")
    return getattr(module.get_submodule(".".join(path)), last)


def _shape(result: Any) -> Shape | None:
    return tuple(int(n) for n in result.shape) if isinstance(result, Tensor) else None


def _leaves_torch(*arguments: Any) -> None:
    """A tensor becomes a Python number, so the units on which it depends stay in place."""
    for value in pytree.tree_leaves(arguments, is_leaf=lambda x: isinstance(x, Value)):
        if isinstance(value, Value):
            for symbol in value.symbols:
                pin(symbol, "read by Python code")


def _path(node: fx.Node) -> str:
    """Path of the module that calls an operation."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0].removeprefix("L['self']").lstrip(".") if stack else ""
