"""Models by name, at any input shape and number of classes."""

from fedma.models.registry import MODELS, build

__all__ = ["MODELS", "build"]
