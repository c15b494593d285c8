"""Training and evaluating one model on one client's data."""

from fedma.training.compute import Compute, choose
from fedma.training.evaluation import BATCH, Score, evaluate, judged, probabilities, score
from fedma.training.schedule import Schedule
from fedma.training.training_loop import Fit, fit

__all__ = [
    "BATCH",
    "Compute",
    "Fit",
    "Schedule",
    "Score",
    "choose",
    "evaluate",
    "fit",
    "judged",
    "probabilities",
    "score",
]
