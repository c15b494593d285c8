"""FedMA's state: what the server needs to continue after an exchange."""

from dataclasses import dataclass

from fedma.algorithms.base import MatchedState


@dataclass(frozen=True, eq=False)
class FedMAState(MatchedState):
    """Within a round, `weights` of steps that are not settled yet are those of the round before.

    Attributes:
        holders: the clients that begin the next round with what they held at the end of the one before.
        settled: how many steps of the present round were settled before the last exchange, and after it.
    """

    holders: tuple[int, ...] = ()
    settled: tuple[int, int] = (0, 0)
