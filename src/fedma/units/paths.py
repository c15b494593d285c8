"""The path of the module that is running."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


def _nothing(module: nn.Module) -> None:
    """Hear of no module."""


@contextlib.contextmanager
def running(model: nn.Module, path: list[str], begins: Callable[[nn.Module], None] = _nothing) -> Iterator[None]:
    """Inside, `path` holds the paths of the modules that are running, innermost last.

    Args:
        model: whose modules.
        path: a list of its own.
        begins: hears of every module before it runs.
    """

    def enter(module: nn.Module, name: str) -> None:
        path.append(name)
        begins(module)

    def leave(*_: Any) -> None:
        del path[-1:]  # a hook that raised may have left nothing here

    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda module, _, name=name: enter(module, name)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
