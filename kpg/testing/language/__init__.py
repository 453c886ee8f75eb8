"""The same for text."""
