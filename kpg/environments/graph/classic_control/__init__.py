"""Gymnasium's classic control problems, with its equations on float32 tensors."""
