"""Matchers that see whole models at once, for one-shot fusion at a fixed width."""
