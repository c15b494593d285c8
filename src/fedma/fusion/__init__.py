"""Fusing models that were trained apart: match one group, bring every model to the global order, continue.

`alike` checks that the models compute the same; `join` makes one model of them.
"""

from fedma.fusion.join import Fusion, aligned, fuse

__all__ = ["Fusion", "aligned", "fuse"]
