"""Labelled samples, and how they lie with the clients: `load` a data set or take your own tensors (`from_arrays`),
tables (`from_tables`) or PyTorch data sets (`from_dataset`), `partition` it, count its classes."""

from fedma.data.arrays import from_arrays
from fedma.data.lazy import LazySplit
from fedma.data.loading import load
from fedma.data.partitioning import SCHEMES, class_counts, partition, shared_test
from fedma.data.split import Dataset, Split, model_inputs
from fedma.data.tables import from_tables
from fedma.data.torch_datasets import from_dataset

__all__ = [
    "SCHEMES",
    "Dataset",
    "LazySplit",
    "Split",
    "class_counts",
    "from_arrays",
    "from_dataset",
    "from_tables",
    "load",
    "model_inputs",
    "partition",
    "shared_test",
]
