"""The paper's matching: maximum a posteriori inference in a beta-Bernoulli process (BBP-MAP)."""
