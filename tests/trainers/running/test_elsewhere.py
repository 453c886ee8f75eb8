"""Names that users bring from elsewhere are answered with what to type here."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import kpg


@functools.cache
def ready() -> Any:
    env = kpg.make("CartPole-v1")
    policy = kpg.models.Policy(env.observation_space, env.action_space)
    made = kpg.trainers.PPO(policy, kpg.models.Critic(env.observation_space))
    made.compile("sgd")
    return made


@pytest.mark.parametrize(
    ("method", "name", "value", "instead"),
    [
        ("compile", "loss", "mse", "override its `policy_loss`"),
        ("compile", "loss_weights", [1.0], "`vf_coef` and `ent_coef`"),
        ("compile", "metrics", ["mae"], "return metrics from `policy_loss`"),
        ("compile", "weighted_metrics", ["mae"], "in a callback"),
        ("compile", "run_eagerly", True, "`tf.config.run_functions_eagerly"),
        ("fit", "y", [1], "experience comes from the environment"),
        ("fit", "class_weight", {0: 1.0}, "experience comes"),
        ("fit", "batch_size", 32, "`minibatch_size`"),
        ("fit", "shuffle", False, "always shuffles"),
        ("fit", "validation_split", 0.1, "`validation_data` an environment"),
        ("fit", "validation_steps", 3, "`validation_episodes`"),
        ("evaluate", "steps", 3, "`episodes`"),
        ("evaluate", "batch_size", 3, "`num_envs`"),
        ("evaluate", "return_dict", False, "is always a dictionary"),
        ("compile", "optimiser", "adam", "Did you mean optimizer or"),
        ("fit", "epoch", 3, "Did you mean epochs?"),
        ("evaluate", "episode", 3, "Did you mean episodes?"),
    ],
)
def test_refuses_by_name(method: str, name: str, value: object, instead: str) -> None:
    call = getattr(ready(), method)
    given = () if method == "compile" else (kpg.make("CartPole-v1"),)
    with pytest.raises(ValueError) as caught:
        call(*given, **{name: value})
    message = str(caught.value)
    assert instead in message and message.endswith(f"Received: {name}={value!r}")


def test_what_is_so_anyway_is_taken() -> None:
    env = kpg.make("CartPole-v1")
    assert set(ready().evaluate(env, episodes=1, return_dict=True)) >= {"return"}


def test_data_is_no_environment() -> None:
    rows = np.zeros((2, 4), np.float32)
    with pytest.raises(ValueError, match=r"An environment must be made by `kpg\.make`"):
        ready().fit(rows, np.zeros(2))


def test_a_batch_of_data_teaches_nothing() -> None:
    rows = np.zeros((2, 4), np.float32)
    for call in (ready().train_on_batch, ready().test_on_batch):
        with pytest.raises(ValueError, match=r"learns from an environment.*fit\(env"):
            call(rows)


@pytest.fixture(scope="module")
def trainer() -> Any:
    env = kpg.make("CartPole-v1")
    spaces = env.observation_space, env.action_space
    return kpg.trainers.PPO(
        kpg.models.Policy(*spaces, hidden_units=(4,)), kpg.models.Critic(spaces[0])
    )


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("learn", "trainer.fit(env"),
        ("train", "trainer.fit(env"),
        ("set_env", "trainer.fit(env"),
        ("load", "kpg.load("),
    ],
)
def test_methods(trainer: Any, name: str, typed: str) -> None:
    for owner in (trainer, type(trainer)):
        with pytest.raises(AttributeError, match=f"PPO has no attribute '{name}'") as e:
            getattr(owner, name)
        assert typed in str(e.value)
    assert not hasattr(trainer, name)


@pytest.mark.parametrize(
    ("method", "name", "told"),
    [
        ("fit", "total_timesteps", "epochs=… and steps_per_epoch=…"),
        ("fit", "callback", "Did you mean callbacks"),
        ("evaluate", "n_eval_episodes", "Did you mean episodes"),
        ("evaluate", "max_episode_steps", "max_steps"),
    ],
)
def test_arguments(trainer: Any, method: str, name: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"`{method}`: .*Received: {name}=3") as e:
        getattr(trainer, method)(None, **{name: 3})
    assert told in str(e.value)
