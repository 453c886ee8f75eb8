"""Environments that are stepped on the host."""
