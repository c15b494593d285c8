"""Training and evaluating one model on one client's data."""

from fedma.training.compute import Compute, choose
from fedma.training.evaluate import BATCH, Score, evaluate, probabilities, score
from fedma.training.fit import Fit, fit
from fedma.training.schedule import Schedule

__all__ = ["BATCH", "Compute", "Fit", "Schedule", "Score", "choose", "evaluate", "fit", "probabilities", "score"]
