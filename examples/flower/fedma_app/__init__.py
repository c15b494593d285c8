"""Federated matched averaging on Flower."""
