"""Matching of recurrent units by their recurrent weights, in addition to their input weights."""
