"""Acting by hand: one observation or many, greedy or sampled."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import spaces
from kpg.models import Policy
from tests import policies
from tests.policies import KINDS
from tests.texts import stirred

BOX = gym.spaces.Box(-np.inf, np.inf, (3,))
NESTED = gym.spaces.Dict(
    a=gym.spaces.Tuple((gym.spaces.Discrete(3, start=2), BOX)),
    b=gym.spaces.Text(max_length=4, charset="xyz"),
)
FOUR = gym.spaces.Discrete(4, start=7)


def rows(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3)).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
def test_one_acts_as_many_do_greedily_and_in_the_space(kind: str) -> None:
    policy = policies.policy(kind)
    space = policy.observation_space
    space.seed(0)
    elements = [space.sample() for _ in range(4)]
    if kind == "masked":
        for element in elements:
            element["legal"][0] = 1
    batch: Any = gym.vector.utils.create_empty_array(space, n=4)
    batch = gym.vector.utils.concatenate(space, elements, batch)
    encoded = tf.nest.map_structure(tf.constant, spaces.encode(space, batch))
    raw = policy.mode(encoded)
    wanted = tf.nest.flatten(policy.family.to_environment(raw))
    found = policy.act(batch)
    many = tf.nest.flatten(found[0] if policy.recurrent else found)
    for own, want in zip(many, wanted, strict=True):
        np.testing.assert_allclose(own, want, rtol=1e-5)
    for index, element in enumerate(elements):
        found = policy.act(element)
        action = found[0] if policy.recurrent else found
        assert policy.action_space.contains(action)
        for one, own in zip(tf.nest.flatten(action), many, strict=True):
            np.testing.assert_allclose(one, own[index], rtol=1e-4)


def test_an_element_of_nested_spaces_is_told_from_a_batch() -> None:
    policy = stirred(Policy(NESTED, FOUR, hidden_units=(8,), seed=0))
    elements = [
        {"a": (2 + number % 3, row), "b": "xyz"[: number % 4]}
        for number, row in enumerate(rows())
    ]
    batch = {
        "a": (np.array([e["a"][0] for e in elements]), rows()),
        "b": [e["b"] for e in elements],
    }
    many = policy.act(batch)
    assert many.shape == (5,) and len({*many.tolist()}) > 1
    assert [policy.act(element) for element in elements] == many.tolist()
    assert policy.act(NESTED.sample()) in FOUR


def test_samples_follow_the_distribution_and_a_seed() -> None:
    policy = stirred(Policy(BOX, gym.spaces.Discrete(3), hidden_units=(8,), seed=0))
    policy.head.kernel.assign(0.1 * policy.head.kernel)
    row = rows(1)
    many = policy.act(np.repeat(row, 4000, axis=0), deterministic=False, seed=3)
    shares = np.bincount(many, minlength=3) / 4000
    (probs,) = tf.nn.softmax(policy(row)).numpy()
    np.testing.assert_allclose(shares, probs, atol=4 * np.sqrt(0.25 / 4000))
    assert 0.05 < probs.min()

    def one(seed: int | None) -> list[int]:
        return [policy.act(row[0], deterministic=False, seed=seed) for _ in range(20)]

    assert len({*one(5)}) == 1
    keras.utils.set_random_seed(1)
    first = one(None)
    keras.utils.set_random_seed(1)
    assert one(None) == first and len({*first}) > 1


def test_new_weights_act_at_once_and_nothing_of_it_is_saved(tmp_path: Any) -> None:
    policy = stirred(Policy(BOX, gym.spaces.Discrete(2), hidden_units=(4,), seed=0))
    before = policy.act(rows())
    policy.head.kernel.assign(-policy.head.kernel)
    policy.head.bias.assign(-policy.head.bias)
    np.testing.assert_array_equal(policy.act(rows()), 1 - before)
    policy.save(tmp_path / "policy.keras")
    tf.train.Checkpoint(policy).write(str(tmp_path / "checkpoint"))
    for copy in (
        keras.saving.load_model(tmp_path / "policy.keras"),
        pickle.loads(pickle.dumps(policy)),
    ):
        np.testing.assert_array_equal(copy.act(rows()), 1 - before)


def test_a_trainer_acts_as_its_policy(make_trainer: Any) -> None:
    trainer = make_trainer("PPO")
    row = np.array([0.0, 0.1, 0.0, -0.1], np.float32)
    assert trainer.act(row) == trainer.policy.act(row)
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    env.step(trainer.act(observation, deterministic=False))


@pytest.mark.parametrize(
    ("observations", "words"),
    [
        (np.ones(2), r"shape=\(1, 2\)"),
        (np.ones((2, 5, 3)), r"shape=\(2, 5, 3\)"),
        ({"x": 1.0}, "Received"),
        ("text", "Received"),
    ],
)
def test_what_is_not_of_the_space_is_refused(observations: Any, words: str) -> None:
    policy = Policy(BOX, gym.spaces.Discrete(2), hidden_units=(4,), seed=0)
    with pytest.raises(ValueError, match=f"one element of the space.*{words}"):
        policy.act(observations)


def test_a_missing_part_and_a_state_of_others_are_refused() -> None:
    nested = Policy(NESTED, gym.spaces.Discrete(2), hidden_units=(4,), seed=0)
    with pytest.raises(ValueError, match="one element of the space.*KeyError 'b'"):
        nested.act({"a": (2, rows(1)[0])})
    policy = Policy(BOX, gym.spaces.Discrete(2), memory="gru", memory_units=4, seed=0)
    _, state = policy.act(rows())
    for wrong in (rows(4), rows(1)[0]):
        with pytest.raises(ValueError, match=r"`state` must be.*\(5, 4\)"):
            policy.act(wrong, state)
    number: Any = 1
    with pytest.raises(ValueError, match="deterministic"):
        policy.act(rows(), deterministic=number)
    assert spaces.batched(BOX, rows(1)[0])[1]
