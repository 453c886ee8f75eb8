"""Environments with known answers, to test algorithms on."""
