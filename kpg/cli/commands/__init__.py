"""The commands of `kpg`, one file each; `kpg.cli.flags` has their flags."""
