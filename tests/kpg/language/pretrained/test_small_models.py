"""Small models that need no files."""

from __future__ import annotations

import numpy as np
import pytest

from kpg import text


def test_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_heads=3, hidden_dim=32"):
        text.gpt2(10, num_heads=3)


def test_a_seed_makes_the_weights() -> None:
    first, second, other = (text.gpt2(9, hidden_dim=8, seed=s) for s in (0, 0, 1))
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    differ = zip(first.weights, other.weights, strict=True)
    assert any(not np.array_equal(ours, theirs) for ours, theirs in differ)
