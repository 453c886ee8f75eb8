"""The names of TensorFlow Probability; `test_imports.py` tests when it is imported."""

from __future__ import annotations

import tensorflow_probability as tfp

from kpg.graph import probability


def test_names_are_those_of_tensorflow_probability() -> None:
    assert probability.distributions is tfp.distributions
    assert probability.math is tfp.math
