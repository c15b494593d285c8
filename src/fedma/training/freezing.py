"""Parameters that training leaves as they are, by patterns of their names."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from fedma.errors import InputError


def freeze(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Let the parameters whose names match a pattern require no gradients; the names of all that require none.

    Args:
        model: changed in place.
        patterns: names of parameters, or of modules for all parameters in them; `*` stands for any letters.

    Raises:
        InputError: a pattern that no parameter matches.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        found = [name for name in parameters if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not found:
            names = ", ".join(list(parameters)[:8])
            raise InputError(f"freeze: no parameter is named like {pattern!r}; the model has {names} and so on")
        for name in found:
            parameters[name].requires_grad_(False)
    return tuple(name for name, parameter in parameters.items() if not parameter.requires_grad)


def check_trainable(model: nn.Module) -> None:
    """Refuse a model of which nothing can be trained.

    Raises:
        InputError: it has no parameters, or none requires gradients.
    """
    flags = [parameter.requires_grad for parameter in model.parameters()]
    if not any(flags):
        what = f"all {len(flags)} parameters are frozen (requires_grad is False)" if flags else "it has no parameters"
        raise InputError(f"nothing of {type(model).__name__} can be trained: {what}; let some require gradients")
