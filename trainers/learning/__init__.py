"""From a trajectory to new weights."""
