"""Federated algorithms without input or output: they ask clients, and take what the clients answer."""

from fedma.algorithms.base import Algorithm, State
from fedma.algorithms.client import Client
from fedma.algorithms.fedavg import FedAvg
from fedma.algorithms.fedma.algorithm import FedMA
from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.one_shot import PFNM, Ensemble
from fedma.algorithms.replies import Expected, check
from fedma.algorithms.server_optimizer import FedAdam, FedAvgM, Moments

__all__ = [
    "PFNM",
    "Algorithm",
    "Ask",
    "Client",
    "Ensemble",
    "Expected",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedMA",
    "Moments",
    "Reply",
    "State",
    "check",
]
