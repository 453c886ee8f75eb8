"""Symbols in every space, and actions that answer them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector.utils import concatenate, create_empty_array

from kpg import spaces
from kpg.testing.probe_spaces import ACTIONS, OBSERVATIONS, Actions, Observations

SYMBOLS = np.arange(3)[:, np.newaxis]
HYBRID = {"turn": ("discrete", "box"), "press": "multi_binary"}


def take(table: Any, indices: Any) -> Any:
    return table[np.asarray(indices, int)]


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_each_symbol_is_another_element_of_the_space(kind: str) -> None:
    observations = Observations(kind)
    elements = observations.elements(SYMBOLS)
    assert all(observations.space.contains(element) for element in elements)
    empty: Any = create_empty_array(observations.space, 3)
    batch = concatenate(observations.space, elements, empty)
    encodings = observations.encodings(SYMBOLS)
    np.testing.assert_array_equal(encodings, spaces.encode(observations.space, batch))
    assert len({row.tobytes() for row in encodings}) == 3


@pytest.mark.parametrize("kinds", [*ACTIONS, HYBRID], ids=str)
@pytest.mark.parametrize("forbidden", [0, 1])
def test_no_action_earns_more_than_the_best(kinds: Any, forbidden: int) -> None:
    actions = Actions(kinds)
    actions.space.seed(0)
    samples = [actions.space.sample() for _ in range(300)]
    batch = tf.nest.map_structure(lambda *rows: np.stack(rows), *samples)
    for bit in (0, 1):
        one = np.array([bit]), np.array([forbidden])
        best = actions.best(*one)
        first = tf.nest.map_structure(lambda rows: rows[0], best)
        assert actions.space.contains(first)
        (most,) = actions.rewards(best, *one, take)
        earned = actions.rewards(batch, np.full(300, bit), one[1].repeat(300), take)
        assert earned.max() <= most + 1e-6
        assert earned.min() < most


def test_masks_forbid_the_right_choices_alone() -> None:
    actions = Actions(("discrete", "multi_binary"))
    assert actions.num_choices == 7
    masks = actions.masks(np.array([0, 1, 1]), np.array([1, 1, 0]))
    assert masks.dtype == np.int8
    # The right choices alternate between the parts: the bit, its opposite, the bit.
    expected = [[0, 1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 1, 1, 0], [1] * 7]
    np.testing.assert_array_equal(masks, expected)


@pytest.mark.parametrize("kinds", ["smell", {}, ("box", 3)])
def test_unknown_kinds_are_refused(kinds: Any) -> None:
    with pytest.raises(ValueError, match="`observation` must be one of.*Received"):
        Observations(kinds)
    with pytest.raises(ValueError, match="`action` must be one of.*Received"):
        Actions(kinds)
