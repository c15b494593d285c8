"""Federated algorithms without input or output: they ask clients, and take what the clients answer."""

from fedma.algorithms.base import Algorithm, MatchedState, State
from fedma.algorithms.client import Client
from fedma.algorithms.fedavg import FedAvg
from fedma.algorithms.fedma import FedMA, FedMAState
from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.one_shot import PFNM, Ensemble, EnsembleState
from fedma.algorithms.replies import Expected, check
from fedma.algorithms.server_optimizer import FedAdam, FedAvgM, OptimizerState

__all__ = [
    "PFNM",
    "Algorithm",
    "Ask",
    "Client",
    "Ensemble",
    "EnsembleState",
    "Expected",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedMA",
    "FedMAState",
    "MatchedState",
    "OptimizerState",
    "Reply",
    "State",
    "check",
]
