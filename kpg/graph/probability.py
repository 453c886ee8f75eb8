"""TensorFlow Probability, imported when something of it is first used.

It takes 0.6 s and 60 MB. Acting and learning do without it: only `distribution()`, the
Beta densities and tests need it.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("tensorflow_probability"), name)
