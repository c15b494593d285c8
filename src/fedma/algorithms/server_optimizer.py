"""Averaging with an optimiser at the server: the clients' mean change is a gradient, and the server takes steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedma.algorithms.base import State
from fedma.algorithms.fedavg import FedAvg
from fedma.algorithms.messages import Reply
from fedma.units import Weights


@dataclass(frozen=True, eq=False)
class OptimizerState(State):
    """A state with what the server's optimiser remembers of earlier rounds.

    Attributes:
        first: of each parameter, the running sum or mean of its changes.
        second: of each parameter, the running mean of its squared changes (FedAdam).
    """

    first: Weights = field(default_factory=dict)
    second: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class FedAvgM(FedAvg):
    """FedAvg with momentum at the server.

    The server moves by `server_lr` times the decaying sum of the rounds' changes; with momentum 0 and learning rate 1
    this is FedAvg. Running statistics are averaged as in FedAvg, and so is a first round without initial weights.

    Attributes:
        server_lr: the server's learning rate.
        server_momentum: how much of the sum before is kept, in [0, 1).

    Source: Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
        Classification", 2019, section 4: v ← βv + Δw, w ← w − v, β = 0.9.
    """

    server_lr: float = 1.0
    server_momentum: float = 0.9

    def start(self) -> OptimizerState:
        """The initial weights, nothing remembered."""
        return OptimizerState(weights=self.initial)

    def absorb(self, state: State, replies: Sequence[Reply]) -> OptimizerState:
        """A step of the server's optimiser along the weighted mean of the clients' changes."""
        mean = super().absorb(state, replies)
        memory = state if isinstance(state, OptimizerState) else OptimizerState()
        if not state.weights:
            return OptimizerState(mean.round, weights=mean.weights)
        names = self._stepped(mean.weights)
        changes = {name: mean.weights[name] - state.weights[name] for name in names}
        steps, memory = self._step(changes, memory)
        moved = {name: state.weights[name] + step for name, step in steps.items()}
        return replace(memory, round=mean.round, exchange=0, weights={**mean.weights, **moved})

    def _stepped(self, weights: Weights) -> list[str]:
        """The tensors that steps move: real numbers that are no running statistics."""
        aside = self.graph.statistics_names
        return [name for name, tensor in weights.items() if tensor.is_floating_point() and name not in aside]

    def _step(self, changes: Weights, memory: OptimizerState) -> tuple[dict[str, Tensor], OptimizerState]:
        """How far each parameter moves, and what is remembered."""
        first = {
            name: self.server_momentum * memory.first[name] + change if memory.first else change
            for name, change in changes.items()
        }
        return {name: self.server_lr * sum_ for name, sum_ in first.items()}, replace(memory, first=first)


@dataclass(frozen=True)
class FedAdam(FedAvgM):
    """FedAvg with Adam at the server, each parameter at its own pace.

    Attributes:
        server_lr: the server's learning rate; 10^-2.5 to 10^-1 were best on the paper's tasks.
        server_decay: how much of the mean square before is kept, in [0, 1).
        adaptivity: tau, added to the root of the mean square; smaller adapts more.

    Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, Algorithm 2 and section 5: beta1 = 0.9
        (`server_momentum`), beta2 = 0.99, tau = 1e-3, the mean square begins at tau², no bias correction. Departure:
        clients count by their samples, as in FedAvg.
    """

    server_lr: float = 0.01
    server_decay: float = 0.99
    adaptivity: float = 1e-3

    def _step(self, changes: Weights, memory: OptimizerState) -> tuple[dict[str, Tensor], OptimizerState]:
        """How far each parameter moves, and what is remembered."""
        beta1, beta2, tau = self.server_momentum, self.server_decay, self.adaptivity
        first, second = {}, {}
        for name, change in changes.items():
            m = memory.first.get(name, torch.zeros_like(change))
            v = memory.second.get(name, torch.full_like(change, tau**2))
            first[name] = beta1 * m + (1 - beta1) * change
            second[name] = beta2 * v + (1 - beta2) * change**2
        steps = {name: self.server_lr * first[name] / (second[name].sqrt() + tau) for name in changes}
        return steps, replace(memory, first=first, second=second)
