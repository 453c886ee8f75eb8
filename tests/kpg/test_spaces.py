"""Spaces survive JSON, and what they emit becomes arrays as promised."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv

from kpg import spaces

TEXT = gym.spaces.Text(4, charset="cab")
SIGN = gym.spaces.Discrete(3, start=-1)
BOX = gym.spaces.Box(-1.0, 1.0, (2,))
NESTED = gym.spaces.Dict({"b": gym.spaces.Tuple([TEXT, SIGN]), "a": BOX})
SPACES: list[gym.Space[Any]] = [
    gym.spaces.Discrete(3),
    gym.spaces.Discrete(2, start=-1),
    gym.spaces.Discrete(5, dtype=np.int32),
    gym.spaces.Box(-1.0, 1.0, (2,)),
    gym.spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    gym.spaces.Box(np.array([0.0, -np.inf]), np.array([0.1, 7.0]), dtype=np.float64),
    gym.spaces.Box(0, 255, (4, 4, 1), np.uint8),
    gym.spaces.Box(-0.07, 0.07, ()),
    gym.spaces.Box(np.array([[0, 1]]), np.array([[2, 2]]), dtype=np.int32),
    gym.spaces.MultiDiscrete([2, 3]),
    gym.spaces.MultiDiscrete(
        np.array([[2, 3], [4, 5]]), np.int32, start=np.array([[0, 1], [-2, 0]])
    ),
    gym.spaces.MultiBinary(3),
    gym.spaces.MultiBinary([2, 3]),
    gym.spaces.Text(5),
    gym.spaces.Text(7, min_length=0, charset="zaä☃𝄞\0"),
    gym.spaces.Tuple([gym.spaces.Discrete(2)]),
    NESTED,
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_round_trip_through_json(space: gym.Space[Any]) -> None:
    text = json.dumps(spaces.to_config(space), allow_nan=False)
    again = spaces.from_config(json.loads(text))
    assert again == space
    assert again.dtype == space.dtype
    assert spaces.to_config(again) == spaces.to_config(space)


def test_equal_bounds_are_written_once() -> None:
    assert spaces.to_config(gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)) == {
        "kind": "Box",
        "low": 0,
        "high": 255,
        "shape": [84, 84, 4],
        "dtype": "uint8",
    }


def test_refuses_what_describes_no_space() -> None:
    with pytest.raises(ValueError, match="`kind`.*Received: kind='Ball'"):
        spaces.from_config({"kind": "Ball"})


# Specs and encodings.


class Sampling(gym.Env[Any, Any]):
    """Observes samples of a space, and remembers them."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, space: gym.Space[Any], seed: int) -> None:
        self.observation_space = space
        space.seed(seed)
        self.seen: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seen = self.observation_space.sample()
        return self.seen, {}


def by_hand(space: gym.Space[Any], sample: Any) -> list[Any]:
    """Encodes one sample leaf by leaf, as the contract's words say: the oracle."""
    if isinstance(space, gym.spaces.Dict):
        keys = sorted(space)
        return [leaf for key in keys for leaf in by_hand(space[key], sample[key])]
    if isinstance(space, gym.spaces.Tuple):
        pairs = zip(space, sample, strict=True)
        return [leaf for part, value in pairs for leaf in by_hand(part, value)]
    if isinstance(space, gym.spaces.Text):
        order = sorted(space.character_set)
        ids = [1 + order.index(character) for character in sample]
        return [ids + [0] * (space.max_length - len(ids))]
    return [np.asarray(sample).tolist()]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_encodings_of_what_a_vector_environment_emits(space: gym.Space[Any]) -> None:
    config = spaces.to_config(space)
    copies = [Sampling(spaces.from_config(config), seed) for seed in range(3)]
    vector_env = SyncVectorEnv([lambda copy=copy: copy for copy in copies])  # type: ignore[misc]
    batch, _ = vector_env.reset()
    encoded = spaces.encode(space, batch)
    flat = tf.nest.flatten(encoded)
    for row, copy in enumerate(copies):
        assert [leaf[row].tolist() for leaf in flat] == by_hand(space, copy.seen)
    wanted = spaces.specs(space)
    tf.nest.assert_same_structure(wanted, encoded)
    for spec, leaf in zip(tf.nest.flatten(wanted), flat, strict=True):
        assert (spec.shape, spec.dtype) == (leaf.shape[1:], tf.as_dtype(leaf.dtype))
        assert leaf.shape[0] == 3
    single = [spaces.specs(leaf) for _, leaf in spaces.leaves(space)]
    assert single == tf.nest.flatten(wanted)


def test_leaves_have_their_paths_in_the_order_of_nests() -> None:
    paths = [(("a",), BOX), (("b", "0"), TEXT), (("b", "1"), SIGN)]
    assert spaces.leaves(NESTED) == paths
    assert spaces.leaves(BOX) == [((), BOX)]


def test_character_ids_begin_at_one_in_sorted_order() -> None:
    space = gym.spaces.Text(4, charset="cab")
    ids = spaces.encode(space, np.array(["abc", "", "cccc"]))
    assert ids.tolist() == [[1, 2, 3, 0], [0, 0, 0, 0], [3, 3, 3, 3]]
    assert ids.dtype == np.int32


def test_encodings_are_copies() -> None:
    batch = np.zeros((2, 3), np.float32)
    for values in (
        spaces.encode(gym.spaces.Box(0.0, 1.0, (3,)), batch),
        spaces.encode(gym.spaces.Dict(x=gym.spaces.Box(0, 1, (3,))), {"x": batch})["x"],
    ):
        assert not np.shares_memory(values, batch)


@pytest.mark.parametrize("text", ["abcab", "abd", "ab𝄞"])
def test_a_text_that_is_not_in_the_space_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most 4 characters.*'abc'") as caught:
        spaces.encode(gym.spaces.Text(4, charset="cab"), ["a", text])
    assert f"Received: {text!r}" in str(caught.value)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_a_batch_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \[B, \*\(3,\)\].*Received: shape="):
        spaces.encode(gym.spaces.Box(0.0, 1.0, (3,)), np.zeros(shape))


# What is refused.


class Odd(gym.Space[Any]):
    """A space of one's own."""


GRAPH = gym.spaces.Graph(gym.spaces.Box(0, 1, (1,)), None)
SEQUENCE = gym.spaces.Sequence(gym.spaces.Discrete(2))
ONE_OF = gym.spaces.OneOf([gym.spaces.Discrete(2), gym.spaces.Discrete(3)])


@pytest.mark.parametrize("role", ["observation", "action"])
@pytest.mark.parametrize(
    "space", [GRAPH, SEQUENCE, ONE_OF, Odd()], ids=lambda s: type(s).__name__
)
def test_other_spaces_are_refused_by_name(space: gym.Space[Any], role: str) -> None:
    nested = gym.spaces.Dict(x=gym.spaces.Tuple([gym.spaces.Discrete(2), space]))
    wrapper = f"gymnasium.{role.capitalize()}Wrapper"
    for whole, where in ((space, ""), (nested, "['x'][1]")):
        with pytest.raises(ValueError, match=f"The {role} space must be") as caught:
            spaces.check(whole, role)
        message = str(caught.value)
        assert f"Received: {type(space).__name__}, " in message
        assert f"as {role}_space{where}. Write a {wrapper}" in message
        assert "wrappers=[" in message
    with pytest.raises(ValueError, match=f"Received: {type(space).__name__}"):
        spaces.to_config(space)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_supported_spaces_are_accepted(space: gym.Space[Any]) -> None:
    spaces.check(space, "observation")


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (gym.spaces.Text(3), "no text"),
        (gym.spaces.Box(0, 5, (2,), np.int32), "floats in each Box"),
        (gym.spaces.Box(0, 255, (2,), np.uint8), "floats in each Box"),
    ],
)
def test_texts_and_integer_boxes_are_no_actions(
    space: gym.Space[Any], text: str
) -> None:
    spaces.check(space, "observation")
    for whole in (space, gym.spaces.Tuple([space])):
        with pytest.raises(ValueError, match=f"{text}.*gymnasium.ActionWrapper"):
            spaces.check(whole, "action")


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (gym.spaces.Dict(), "not be empty"),
        (gym.spaces.Tuple([]), "not be empty"),
        (gym.spaces.Box(0.0, 1.0, (0,)), "not be empty"),
        (gym.spaces.Dict({1: gym.spaces.Discrete(2)}), "strings as keys"),  # type: ignore[dict-item]
    ],
)
def test_spaces_of_nothing_are_refused(space: gym.Space[Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spaces.check(space, "observation")


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="`role`.*Received: role='reward'"):
        spaces.check(gym.spaces.Discrete(2), "reward")
