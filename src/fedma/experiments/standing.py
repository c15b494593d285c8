"""Where a method of a run stands after an exchange."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fedma.algorithms import State
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
        return cls(**{**data, "state": State(**data["state"]), "traffic": Traffic(**data["traffic"])})
