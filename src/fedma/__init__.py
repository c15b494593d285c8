"""Federated learning by matched averaging.

The units of a layer can be reordered without changing a network. So before models are averaged, `fedma` finds which
units do the same job.

    fedma.units(model, example_inputs)      which weights move together
    fedma.match(clients)                    which clients' units do the same job
    fedma.fuse(models, example_inputs)      one model out of several that were trained apart
    fedma.aligned(models, fusion)           the models with their units in the fused model's order
    fedma.moments(model, batches)           how a model's units vary together on data, which fusing can use
    fedma.recalibrate(model, batches)       the fused model's batch-norm statistics, where there are data

Federated training is in `fedma.algorithms`, `fedma.engines` and, ready to use, `fedma.experiments`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedma.fusion import Fusion, aligned, fuse
    from fedma.matching import Matching, match
    from fedma.norms import recalibrate
    from fedma.units import UnitGraph, units
    from fedma.units.activity import moments

__version__ = "0.1.0"

__all__ = [
    "Fusion",
    "Matching",
    "UnitGraph",
    "__version__",
    "aligned",
    "fuse",
    "match",
    "moments",
    "recalibrate",
    "units",
]

_HOME = {
    "Fusion": "fedma.fusion",
    "Matching": "fedma.matching",
    "UnitGraph": "fedma.units",
    "aligned": "fedma.fusion",
    "fuse": "fedma.fusion",
    "match": "fedma.matching",
    "moments": "fedma.units.activity",
    "recalibrate": "fedma.norms",
    "units": "fedma.units",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, and `fedma --help` does not need it: public names load when first used.
    if name not in _HOME:
        raise AttributeError(f"module 'fedma' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
