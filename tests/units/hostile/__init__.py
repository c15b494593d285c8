"""Small forwards that try to make a unit graph wrong, by kind; each says what must be found if nothing is lost."""

from units.hostile import (
    chances,
    constants,
    containers,
    functional,
    indexing,
    order,
    outside,
    precision,
    regular,
    state,
    values,
    views,
    weights,
)
from units.hostile.case import CASES, Case, Small

__all__ = [
    "CASES",
    "Case",
    "Small",
    "chances",
    "constants",
    "containers",
    "functional",
    "indexing",
    "order",
    "outside",
    "precision",
    "regular",
    "state",
    "values",
    "views",
    "weights",
]
