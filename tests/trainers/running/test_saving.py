"""There is a whole file at all times, whatever happens while one is written."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import kpg
from kpg.environments import HostEnvironment
from kpg.trainers.running.saving import revived_models, write_aside
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

    monkeypatch.setattr("kpg.trainers.running.saving.os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        trainer.save(path)
    assert path.read_bytes() == whole
    assert [entry.name for entry in tmp_path.iterdir()] == ["trainer.keras"]


def test_what_is_half_written_is_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write(aside: Path) -> None:
        aside.write_text("half")
        assert aside.parent == path.parent and path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aside(path, True, write)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]

    def rewrite(aside: Path) -> None:
        aside.write_text("new")

    write_aside(path, True, rewrite)
    assert path.read_text() == "new" and [*tmp_path.iterdir()] == [path]


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
