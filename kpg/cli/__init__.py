"""The command `kpg`."""
