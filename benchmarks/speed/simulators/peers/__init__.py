"""The same work in each simulator: `python -m peers.NAME TASK`, which prints a line of JSON for each round."""
