"""Writing tokens one after another, with caches."""
