"""The version of kpg, in the one place that setup.py and the package read."""

from __future__ import annotations

__version__ = "0.1.0"
