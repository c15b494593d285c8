"""Averages of tensors whose units are matched, and what repairs the loss that averaging brings."""
