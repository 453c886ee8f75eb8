"""TensorFlow Probability, imported on first use: it takes 0.6 s and 60 MB.

Only `distribution()`, the Beta densities and tests need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow_probability import bijectors as bijectors
    from tensorflow_probability import distributions as distributions
    from tensorflow_probability import math as math
    from tensorflow_probability import random as random


def __getattr__(name: str) -> object:
    return getattr(importlib.import_module("tensorflow_probability"), name)
