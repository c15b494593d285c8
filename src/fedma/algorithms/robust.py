"""Bounds on how much a single client can change the global model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fedma.algorithms.messages import Reply
from fedma.algorithms.replies import root_mean_square, usual
from fedma.errors import InputError
from fedma.units import UnitGraph


@dataclass(frozen=True)
class Robust:
    """How replies are averaged when some clients may lie.

    Attributes:
        trim: the part of the owners left out at each end of every average, as `fedma.matching.average` has it: 0 is
            the mean, 0.5 the median.
        clip: how many times as large as the median client's an update may be; larger ones are scaled down to that.
            None sets no bound.

    Raises:
        InputError: out of range.
    """

    trim: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.trim <= 0.5:
            raise InputError(f"trim must be from 0 (the mean) to 0.5 (the median); got {self.trim}")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip must be positive; got {self.clip}")

    def clipped(self, replies: Sequence[Reply], graph: UnitGraph, centre: Mapping[str, Tensor]) -> list[Reply]:
        """The replies with updates that are too large scaled down.

        Size is the root mean square over all parameters, so that clients of different widths compare; running
        statistics are left alone.

        Args:
            replies: of one exchange.
            graph: the model's unit graph.
            centre: what the clients started from; a tensor that is not there counts as an update from zero.

        Source: Sun et al., "Can You Really Backdoor Federated Learning?", 2019, section 4 (norm bounding); the bound
            follows the clients' median instead of being given.
        """
        if self.clip is None or not replies:
            return list(replies)
        updates = [_update(reply, graph, centre) for reply in replies]
        sizes = [root_mean_square(list(update.values())) for update in updates]
        most = self.clip * usual(sizes)
        return [
            replace(reply, weights=_shortened(reply, update, most / size)) if size > most > 0 else reply
            for reply, update, size in zip(replies, updates, sizes, strict=True)
        ]


def _update(reply: Reply, graph: UnitGraph, centre: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How far a client's parameters are from the centre."""
    aside = graph.statistics_names
    parameters = {n: t for n, t in reply.weights.items() if t.is_floating_point() and n not in aside}
    return {name: tensor - centre[name] if name in centre else tensor for name, tensor in parameters.items()}


def _shortened(reply: Reply, update: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """The client's weights with a part of its update taken back."""
    return {**reply.weights, **{name: reply.weights[name] - (1 - factor) * own for name, own in update.items()}}
