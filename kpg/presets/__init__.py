"""Tuned settings, one data file per environment."""
