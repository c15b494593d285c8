"""Engines deliver an algorithm's asks to clients and bring back their replies."""

from fedma.engines.local import LocalEngine
from fedma.engines.traffic import Traffic

__all__ = ["LocalEngine", "Traffic"]
