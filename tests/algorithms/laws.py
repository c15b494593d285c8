"""What every algorithm must obey. A law is a function of a case; it raises AssertionError where it is broken."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save

from federation import CLASSES, SHAPE, assert_equal, clients, initial
from fedma.algorithms import Algorithm, Ask, Client, Reply, State
from fedma.algorithms.base import state_from_dict, state_to_dict
from fedma.algorithms.replies import Expected, check, sift
from fedma.engines import Traffic
from fedma.errors import ReplyError
from fedma.experiments import checkpoint
from fedma.experiments.method_factories import Plan, algorithm
from fedma.experiments.settings import Settings
from fedma.methods import METHODS
from fedma.seeds import generator
from fedma.training import probabilities
from fedma.units import UnitGraph, Weights, rebuild

Change = Callable[[Sequence[Ask], list[Reply]], list[Reply]]
COUNT, MODEL = 4, "mlp"
INPUTS = torch.randn(20, *SHAPE, generator=generator(0, "law inputs"))


@dataclass(frozen=True)
class Case:
    """An algorithm under test.

    Attributes:
        make: makes it from a plan.
        common: whether its clients start from common weights.
    """

    make: Callable[[Plan], Algorithm]
    common: bool

    @classmethod
    def of(cls, method: str) -> "Case":
        return cls(lambda plan: algorithm(method, plan), METHODS.get(method).common_start)

    def federation(self, *, count: int = COUNT, epochs: int = 1, alike: bool = False) -> "Federation":
        """Clients and their algorithm; `alike` ones begin with the same weights."""
        members = clients(count, model=MODEL)
        start = initial(members, model=MODEL, common=self.common or alike)
        settings = Settings(model=MODEL, clients=count, local_epochs=epochs, rounds=2, lr=0.05, batch_size=8)
        common = start[0] if self.common else {}
        plan = Plan(settings, members[0].graph, range(count), 2, common, {})
        return Federation(self.make(plan), members, start)


@dataclass
class Federation:
    """An algorithm and its clients, which hold their weights between exchanges."""

    algorithm: Any
    members: list[Client]
    start: dict[int, Weights]

    @property
    def graph(self) -> UnitGraph:
        return self.members[0].graph

    @property
    def expected(self) -> Expected:
        return Expected.of(self.members[0].template, self.graph, classes=CLASSES)

    def exchanges(
        self, change: Change = lambda asks, replies: replies, *, keep: Callable[[State], State] = lambda state: state
    ) -> Iterator[tuple[Sequence[Ask], list[Reply], State]]:
