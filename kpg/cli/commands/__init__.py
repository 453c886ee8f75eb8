"""The commands of `kpg`, one file each; see `kpg.cli.main` for their flags."""
