"""Fusing models that were trained apart: match one group, bring every model to the global order, go on.

`alike` asks whether the models compute the same; `join` makes one of them.
"""

from fedma.fusion.join import Fusion, aligned, fuse

__all__ = ["Fusion", "aligned", "fuse"]
