"""A small policy that steers a large model."""
