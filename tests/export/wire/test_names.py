"""Names of parts: from a nest to flat inputs and back."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kpg
from kpg.export.wire import names

SPACE = gym.spaces.Dict(
    {
        "b": gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(3)]),
        "a": gym.spaces.Dict({"x y": gym.spaces.Discrete(4)}),
    }
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "action"),
        (("arm",), "action_arm"),
        (("left arm", 0, "x/y"), "action_left_arm_0_x_y"),
        (("é",), "action__"),
    ],
)
def test_join(path: tuple[Any, ...], name: str) -> None:
    assert names.join("action", path) == name
    assert re.fullmatch("[A-Za-z0-9_]+", name)


def test_unique() -> None:
    assert names.unique([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="Received: two parts called a$"):
        names.unique([("a", 1), ("b", 2), ("a", 3)])


@pytest.mark.parametrize(
    ("nest", "flat"),
    [
        (1, {"o": 1}),
        ([1, 2], {"o": [1, 2]}),
        ({"a": {"b": 1}, "c": 2}, {"o_a_b": 1, "o_c": 2}),
        ((1, (2, {"d": 3})), {"o_0": 1, "o_1_0": 2, "o_1_1_d": 3}),
        (("to", "be"), {"o": ("to", "be")}),  # what Gymnasium makes of two texts
        ((("to", "be"), 1), {"o_0": ("to", "be"), "o_1": 1}),
    ],
)
def test_flatten(nest: Any, flat: dict[str, Any]) -> None:
    assert names.flatten("o", nest) == flat


def test_paths_are_those_of_the_spaces_module() -> None:
    paths = [tuple(map(str, path)) for path in names.paths(SPACE)]
    assert sorted(paths) == sorted(path for path, _ in kpg.spaces.leaves(SPACE))
    assert names.paths(gym.spaces.Discrete(2)) == [()]


def test_build_inverts_flatten() -> None:
    sample = SPACE.sample()
    flat = names.flatten("o", sample)
    built = names.build(SPACE, lambda path: flat[names.join("o", path)])
    assert built == sample and SPACE.contains(built)
    box = gym.spaces.Box(0, 1)
    np.testing.assert_array_equal(names.build(box, lambda _: [0.5]), [0.5])
