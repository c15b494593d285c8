"""A matching of your own: any function from the clients' units to slots can take the place of the built-in one.

This one pairs every client's units with those of client 0 by their correlation, and never lets the model grow.
"""

import torch
from scipy.optimize import linear_sum_assignment

import fedma
from fedma.data import class_counts, load, partition
from fedma.models import build
from fedma.training import Schedule, evaluate, fit


def by_correlation(rows, max_slots):
    """Each client's unit → slot, from its units × features; `max_slots` may not be passed."""
    first = torch.nn.functional.normalize(rows[0])
    assignments = [torch.arange(len(first))]
    for own in rows[1:]:
        similarity = torch.nn.functional.normalize(own) @ first.T
        assignments.append(torch.as_tensor(linear_sum_assignment(similarity, maximize=True)[1]))
    return assignments


digits = load("digits")
parts = partition(digits.train, 4, alpha=1.0)
models = [build("mlp", digits.input_shape, 10, seed=j) for j in range(4)]
for j, part in enumerate(parts):
    fit(models[j], digits.train.select(part), Schedule(epochs=15), seed=0, name=("client", j))

counts = class_counts(digits.train, parts, 10)
for name, matcher in (("averaging", "identity"), ("by correlation", by_correlation), ("built in", "bbp")):
    fusion = fedma.fuse(models, digits.test.inputs[:2], class_counts=counts, matcher=matcher, fitted=False)
    print(f"{name:15}{evaluate([fusion.model], digits.test).accuracy:6.1%}   widths {fusion.widths}")
