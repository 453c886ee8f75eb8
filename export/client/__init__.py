"""Asking a server for actions, without TensorFlow."""
