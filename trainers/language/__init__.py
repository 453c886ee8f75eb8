"""The same for text tasks."""
