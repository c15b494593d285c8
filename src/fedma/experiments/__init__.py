"""Experiments: settings in, a run folder with results out."""
