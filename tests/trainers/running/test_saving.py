"""There is a whole file at all times, whatever happens while one is written."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import HostEnvironment
from kpg.trainers.running.saving import revived_models
from tests.environments import Noted


def test_a_failed_save_keeps_the_old_file(
    make_trainer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, path = make_trainer("PPO"), tmp_path / "trainer.keras"
    trainer.save(path)
    whole = path.read_bytes()
    with pytest.raises(ValueError, match=r"exists.*Received: filepath"):
        trainer.save(path, overwrite=False)
    with pytest.raises(ValueError, match=r"`zipped` must be left out.*zipped=False"):
        trainer.save(tmp_path / "folder", zipped=False)

    def fails(*arguments: Any, **options: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("kpg.files.os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        trainer.save(path)
    assert path.read_bytes() == whole
    assert [entry.name for entry in tmp_path.iterdir()] == ["trainer.keras"]


def test_a_critic_on_the_trunk_of_its_policy_gets_that_of_the_new_one() -> None:
    env = kpg.make("CartPole-v1", num_envs=2)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    for trunk in (policy, None):
        critic = kpg.models.Critic(env.observation_space, trunk=trunk, seed=1)
        trainer = kpg.trainers.PPO(policy, critic, num_steps=4)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(trainer)))
        made = revived_models(config["config"])
        assert made["policy"].trunk is not policy.trunk
        shared = made["critic"].trunk is made["policy"].trunk
        assert shared == (trunk is policy)
        assert made["executor"] is None


@pytest.mark.usefixtures("one_by_one")
def test_a_file_holds_the_rate_that_a_schedule_starts_from(
    make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    env = HostEnvironment(Noted(), seed=0)
    settings: Any = {"num_steps": 2, "learning_rate_schedule": "linear"}
    sgd = keras.optimizers.SGD(1e-2)
    trainer = make_trainer("ActorCritic", env=env, optimizer=sgd, **settings)
    whole, weights = tmp_path / "best.keras", tmp_path / "best.weights.h5"
    now, pickled = [], []

    class Saves(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                self.model.save(whole)
                self.model.save_weights(weights)
                pickled.append(pickle.dumps(self.model))
                now.append(float(self.model.optimizer.learning_rate))

    how: Any = {"steps_per_epoch": 2, "verbose": 0}
    trainer.fit(env, callbacks=[Saves()], **how)
    assert now == [pytest.approx(0.5e-2)]
    loaded = [kpg.load(whole), pickle.loads(pickled[-1])]
    trainer.optimizer.learning_rate = 1.0
    trainer.load_weights(weights)
    for model in (*loaded, trainer):
        assert float(model.optimizer.learning_rate) == pytest.approx(1e-2)
    again = loaded[0].fit(env, steps_per_epoch=1, verbose=0).history
    assert again["learning_rate"] == [pytest.approx(1e-2)]


@pytest.mark.parametrize("name", ["m.h5", "m", "m.zip", "m.weights.h5", "folder/m.tf"])
def test_the_suffix_to_type_is_told(
    name: str, make_trainer: Callable[..., Any]
) -> None:
    trainer = make_trainer("PPO")
    with pytest.raises(ValueError, match=r"type `save\('.*m.*\.keras'\)`.*Received"):
        trainer.save(name)


class Listed(keras.layers.Layer):
    """A backbone of one's own, whose layers are in a list and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.first = [keras.layers.Dense(3)]
        self.second = {"dense": keras.layers.Dense(2)}

    def build(self, shape: Any) -> None:
        self.first[0].build(shape)
        self.second["dense"].build((None, 3))

    def call(self, inputs: Any) -> Any:
        return self.second["dense"](self.first[0](tf.reshape(inputs, [-1, 2])))

    def compute_output_shape(self, shape: Any) -> Any:
        return (None, 2)


ROWS = gym.spaces.Box(-1.0, 1.0, (2,))
EVERYTHING = gym.spaces.Dict(
    box=ROWS, choice=gym.spaces.Discrete(3), text=gym.spaces.Text(3)
)
PIXELS = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (ROWS, {"hidden_units": (3,)}),
        (EVERYTHING, {"hidden_units": (3,), "memory": "lstm", "memory_units": 2}),
        (ROWS, {"hidden_units": (3,), "memory": "transformer", "memory_units": 4}),
        (ROWS, {"backbone": Listed}),
        (PIXELS, {}),
    ],
    ids=["plain", "nested", "transformer", "own", "image"],
)
def test_a_checkpoint_of_tensorflow_holds_every_variable(
    space: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    def own() -> dict[str, Any]:
        return {k: v() if k == "backbone" else v for k, v in options.items()}

    def made() -> Any:
        policy = kpg.models.Policy(space, gym.spaces.Box(-1, 1, (1,)), **own())
        critic = kpg.models.Critic(space, **own())
        how: dict[str, Any] = {
            "reference": kpg.trainers.KL(0.1),
            "num_steps": 4,
            "minibatch_size": 4,
        }
        trainer = kpg.trainers.PPO(policy, critic, **how)
        trainer.compile("adam", critic_optimizer="adam")
        return trainer

    def variables_of(trainer: Any) -> list[Any]:
        owners = (trainer, trainer.optimizer, trainer.critic_optimizer)
        return [variable for owner in owners for variable in owner.variables]

    first, second = made(), made()
    for index, variable in enumerate(variables_of(first)):
        variable.assign(np.full(variable.shape, index + 2))
    path = tf.train.Checkpoint(trainer=first).save(str(tmp_path / "all"))
    tf.train.Checkpoint(trainer=second).restore(path).assert_consumed()
    found = zip(variables_of(first), variables_of(second), strict=True)
    assert not [one.path for one, two in found if not np.array_equal(one, two)]
    path = tf.train.Checkpoint(policy=first.policy).save(str(tmp_path / "policy"))
    policy = made().policy
    tf.train.Checkpoint(policy=policy).restore(path)
    found = zip(first.policy.variables, policy.variables, strict=True)
    assert not [one.path for one, two in found if not np.array_equal(one, two)]


@pytest.mark.usefixtures("one_by_one")
def test_a_seed_that_was_drawn_is_saved(
    make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    trainer = make_trainer("PPO", seed=None)
    trainer.save(tmp_path / "trainer.keras")
    loaded = kpg.load(tmp_path / "trainer.keras")
    assert loaded.effective_seed == trainer.effective_seed == loaded.seed
    assert make_trainer("PPO", seed=None).effective_seed != trainer.effective_seed
