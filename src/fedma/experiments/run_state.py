"""What a method of a run needs to continue after an exchange."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fedma.algorithms import State
from fedma.algorithms.base import state_from_dict, state_to_dict
from fedma.engines import Traffic


@dataclass(frozen=True)
class RunState:
    """All that a method needs to continue, except what its clients hold.

    Attributes:
        method: its name.
        state: the algorithm's.
        traffic: so far.
        spent: bytes up to the end of the last round.
        ended: whether no further exchange is wanted.
        seconds: since its start.
        budget: bytes that the averaging methods may use under `equal_bytes`, once these are known.
    """

    method: str
    state: State
    traffic: Traffic = field(default_factory=Traffic)
    spent: int = 0
    ended: bool = False
    seconds: float = 0.0
    budget: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as checkpoints keep them."""
        named = {own.name: getattr(self, own.name) for own in fields(self)}
        return {**named, "state": state_to_dict(self.state), "traffic": asdict(self.traffic)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], kind: type[State]) -> "RunState":
        """The run state of these values, for an algorithm whose state is of this kind.

        Raises:
            KeyError, TypeError: the values are another version's.
        """
        if not isinstance(data, Mapping):
            raise TypeError("no names and values")
        state, traffic = state_from_dict(kind, data["state"]), _filled(Traffic(), data["traffic"])
        return _filled(cls(data["method"], state), {**data, "state": state, "traffic": traffic})


def _filled(blank: Any, values: Mapping[str, Any]) -> Any:
    """The dataclass with these values instead of its own; each must have the type that it has there."""
    if not isinstance(values, Mapping):
        raise TypeError(f"no names and values, but a {type(values).__name__}")
    kinds = {own.name: type(getattr(blank, own.name)) for own in fields(blank)}
    for name, kind in kinds.items():
        if kind is not type(None) and type(values[name]) is not kind and not {kind, type(values[name])} <= {int, float}:
            raise TypeError(f"{name} is a {type(values[name]).__name__}, no {kind.__name__}")
    return replace(blank, **values)
