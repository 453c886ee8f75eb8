"""The commands of `kpg`, one file each; see `kpg.cli` for their flags."""
