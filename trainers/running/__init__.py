"""Iterations, epochs and callbacks."""
