"""Matching of recurrent units by what they read of each other, beside what they read of the layer below."""
