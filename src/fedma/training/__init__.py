"""Training and evaluating one model on one client's data."""

from fedma.training.evaluate import Score, evaluate
from fedma.training.fit import Fit, Schedule, fit
from fedma.training.layout import fast_layout

__all__ = ["Fit", "Schedule", "Score", "evaluate", "fast_layout", "fit"]
