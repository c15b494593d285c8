"""Local differential privacy: what a client sends is bounded, and noise is added, before it leaves the client."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedma.errors import InputError
from fedma.optional_dependencies import imported
from fedma.seeds import generator


@dataclass(frozen=True)
class Privacy:
    """What a client does to its weights before it sends them.

    Attributes:
        clip: the most that a message may differ from what the server knew, as a Euclidean norm over all its tensors.
        noise: the standard deviation of the Gaussian noise on each value, as a multiple of `clip`; 0 for none.
        secure: draw the noise from the operating system, as anyone must who means it. Otherwise it comes from the
            run's seed, so that runs can be repeated, and whoever knows the seed can take it off again.

    Raises:
        InputError: out of range.
    """

    clip: float
    noise: float
    secure: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.clip < math.inf:
            raise InputError(f"dp_clip must be positive and finite; got {self.clip}")
        if not 0 <= self.noise < math.inf:
            raise InputError(f"dp_noise must be at least 0 and finite; got {self.noise}")

    def applied(
        self, weights: Mapping[str, Tensor], known: Mapping[str, Tensor], *, seed: int, name: tuple[str | int, ...]
    ) -> dict[str, Tensor]:
        """The weights as they may be sent: clipped and noisy. Whole numbers stay as they are.

        Args:
            weights: what was asked for.
            known: tensors that the server knew before. Only their change is clipped; other tensors are clipped whole.
            seed: of the run; with `name` it decides the noise, unless that is secure.
            name: of this message.

        Source: Dwork, Roth, "The Algorithmic Foundations of Differential Privacy", 2014, appendix A (Gaussian
            mechanism). Updates are clipped as in McMahan et al., "Learning Differentially Private Recurrent Language
            Models", ICLR 2018. Departure: at the client.
        """
        draw = None if self.secure else generator(seed, *name, "noise")
        real = {key: tensor for key, tensor in weights.items() if tensor.is_floating_point()}
        updates = {key: (t - known[key] if key in known else t).double() for key, t in real.items()}
        length = math.sqrt(sum(float(update.square().sum()) for update in updates.values()))
        factor = self.clip / length if length > self.clip else 1.0
        sent = dict(weights)
        for key, update in updates.items():
            noisy = factor * update + self.noise * self.clip * _normal(update.shape, draw)
            sent[key] = (known[key] + noisy if key in known else noisy).to(weights[key].dtype)
        return sent

    def epsilon(self, messages: int, *, delta: float) -> float:
        """The privacy loss epsilon of a client after this many messages, at this delta; infinite without noise.

        Two data sets of a client are neighbours whatever they are (local privacy), so two messages before the noise
        are at most 2·clip apart. Gaussian mechanisms compose to one with the noise divided by √messages; its epsilon
        is exact.

        Raises:
            MissingExtra: dp-accounting is not installed.

        Source: Balle, Wang, "Improving the Gaussian Mechanism for Differential Privacy", ICML 2018, Theorem 8.
        """
        if not messages:
            return 0.0
        if not self.noise:
            return math.inf
        dp_accounting = imported("dp_accounting", extra="privacy")
        return float(dp_accounting.get_epsilon_gaussian(self.noise / 2 / math.sqrt(messages), delta))


def _normal(shape: torch.Size, draw: torch.Generator | None) -> Tensor:
    """Standard normal numbers, float64: from a generator, or without one from the operating system."""
    if draw is not None:
        return torch.randn(shape, generator=draw, dtype=torch.float64)
    count = shape.numel()
    if not count:
        return torch.zeros(shape, dtype=torch.float64)
    bits = torch.frombuffer(bytearray(secrets.token_bytes(16 * count)), dtype=torch.int64).view(2, count)
    uniform = ((bits & (2**53 - 1)) + 1).double() / 2**53
    # Box and Muller's transform; uniform numbers are in (0, 1], so the logarithm is finite.
    return ((-2 * uniform[0].log()).sqrt() * (2 * math.pi * uniform[1]).cos()).view(shape)
