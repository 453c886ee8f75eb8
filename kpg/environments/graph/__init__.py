"""Environments that are stepped inside the graph."""
