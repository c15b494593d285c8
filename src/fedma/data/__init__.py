"""Labelled images, and how they lie with the clients: `load` a data set, `partition` it, count its classes."""

from fedma.data.loading import load
from fedma.data.partition import SCHEMES, class_counts, partition
from fedma.data.split import Dataset, Split

__all__ = ["SCHEMES", "Dataset", "Split", "class_counts", "load", "partition"]
