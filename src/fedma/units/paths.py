"""The paths of the modules that are running."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


def _nothing(module: nn.Module) -> None:
    """Ignore the module."""


@contextlib.contextmanager
def running(model: nn.Module, path: list[str], begins: Callable[[nn.Module], None] = _nothing) -> Iterator[None]:
    """While active, `path` holds the paths of the running modules, innermost last.

    Args:
        model: the model to be run.
        path: an empty list, filled here.
        begins: called with every module before it runs.
    """

    def enter(module: nn.Module, name: str) -> None:
        path.append(name)
        begins(module)

    def leave(*_: Any) -> None:
        del path[-1:]  # empty if a hook raised

    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda module, _, name=name: enter(module, name)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
