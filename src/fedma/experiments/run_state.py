"""Where a method of a run stands after an exchange."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fedma.algorithms import Moments, State
from fedma.engines import Traffic
from fedma.units import Weights


@dataclass(frozen=True)
class Standing:
    """All that a method needs to go on, but for what its clients hold.

    Attributes:
        method: its name.
        state: the algorithm's.
        traffic: so far.
        spent: bytes up to the end of the last round.
        ended: whether no further exchange is wanted.
        seconds: since its start.
        budget: bytes that methods may use that are bound by FedMA's, once these are known.
    """

    method: str
    state: State
    traffic: Traffic = field(default_factory=Traffic)
    spent: int = 0
    ended: bool = False
    seconds: float = 0.0
    budget: int | None = None

    @property
    def models(self) -> tuple[Weights, ...]:
        """The global model, or several where the method keeps several."""
        return self.state.models or (self.state.weights,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        named = {own.name: getattr(self, own.name) for own in fields(self)}
        state = {own.name: getattr(self.state, own.name) for own in fields(self.state)}
        return {**named, "state": state, "traffic": asdict(self.traffic)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Standing":
        """The standing of these values; KeyError or TypeError where they are of another version."""
        if not isinstance(data, Mapping) or not isinstance(data["state"], Mapping):
            raise TypeError("no names and values")
        state, traffic = data["state"], data["traffic"]
        blank = cls(data["method"], Moments() if "first" in state else State())
        return _filled(blank, {**data, "state": _filled(blank.state, state), "traffic": _filled(Traffic(), traffic)})


def _filled(blank: Any, values: Mapping[str, Any]) -> Any:
    """The dataclass with these values instead of its own, each of the type that it has there."""
    if not isinstance(values, Mapping):
        raise TypeError(f"no names and values, but a {type(values).__name__}")
    kinds = {own.name: type(getattr(blank, own.name)) for own in fields(blank)}
    for name, kind in kinds.items():
        if kind is not type(None) and type(values[name]) is not kind:
            raise TypeError(f"{name} is a {type(values[name]).__name__}, no {kind.__name__}")
    return replace(blank, **values)
