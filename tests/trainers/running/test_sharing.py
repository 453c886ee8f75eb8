"""What layers of a trainer's models share, they share when they are made again."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import pytest

import kpg

L = keras.layers
Pair: TypeAlias = tuple[keras.Model, keras.Model]


def sequential(*layers: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), *layers])


def functional(shared: keras.layers.Layer, units: int) -> keras.Model:
    """Calls one layer twice, and one that each of these models has."""
    inputs = keras.Input((4,))
    hidden = L.Dense(units)(shared(inputs))
    return keras.Model(inputs, L.Concatenate()([hidden, shared(inputs)]))


def one_backbone() -> Pair:
    net = sequential(L.Dense(3), L.Dropout(0.5, seed=1))
    return net, net


def one_layer() -> Pair:
    layer = L.Dense(3)
    return sequential(layer), sequential(layer, L.Dense(2))


def one_layer_of_graphs() -> Pair:
    layer = L.Dense(3)
    return functional(layer, 2), functional(layer, 5)


def one_graph_in_a_graph() -> Pair:
    """The second one is also called before, by a model that Keras makes first."""
    graph, inputs = functional(L.Dense(3), 2), keras.Input((4,))
    return keras.Model(inputs, graph(inputs)), sequential(graph, L.Dense(2))


def one_layer_twice_in_one_model() -> Pair:
    """Keras itself cannot load this."""
    layer, inputs = L.Dense(3), keras.Input((4,))
    parts = [sequential(layer)(inputs), sequential(layer, L.Dense(2))(inputs)]
    return keras.Model(inputs, L.Concatenate()(parts)), sequential(L.Dense(2))


def one_wrapped_layer() -> Pair:
    wrapped = L.TimeDistributed(L.Dense(3))
    pair = [sequential(L.Reshape((2, 2)), wrapped, L.Flatten()) for _ in range(2)]
    return pair[0], pair[1]


ARRANGEMENTS = (
    one_backbone,
    one_layer,
    one_layer_of_graphs,
    one_graph_in_a_graph,
    one_layer_twice_in_one_model,
    one_wrapped_layer,
)


def trainer_of(backbones: Pair) -> Any:
    env = kpg.make("CartPole-v1")
    spaces = env.observation_space, env.action_space
    policy = kpg.models.Policy(*spaces, backbone=backbones[0])
    critic = kpg.models.Critic(env.observation_space, backbone=backbones[1])
    return kpg.trainers.PPO(policy, critic, seed=0)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_file_holds_what_is_shared(
    arrangement: Callable[[], Pair], tmp_path: Path
) -> None:
    trainer, rows = trainer_of(arrangement()), np.ones((2, 4), np.float32)
    # What was loaded can be saved, too.
    for number in range(2 if arrangement is one_layer_of_graphs else 1):
        trainer.save(tmp_path / f"{number}.keras")
        loaded: Any = kpg.load(tmp_path / f"{number}.keras")
        assert len(loaded.weights) == len(trainer.weights)
        for got, want in zip(loaded.weights, trainer.weights, strict=True):
            np.testing.assert_array_equal(got, want)
        np.testing.assert_allclose(loaded.policy(rows), trainer.policy(rows), 1e-6)
        np.testing.assert_allclose(loaded.critic(rows), trainer.critic(rows), 1e-6)
        trainer = loaded


def test_a_pickle_a_clone_and_a_configuration_do_too() -> None:
    trainer = trainer_of(one_layer())
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(trainer)))
    for copy in (
        pickle.loads(pickle.dumps(trainer)),
        keras.models.clone_model(trainer),
        keras.saving.deserialize_keras_object(config),
    ):
        made: Any = copy
        shared = made.policy.backbone.layers[0]
        assert shared is made.critic.backbone.layers[0]
        assert shared is not trainer.policy.backbone.layers[0]
        assert len(made.weights) == len(trainer.weights)


def test_what_is_not_shared_is_written_as_it_is() -> None:
    trainer = trainer_of((sequential(L.Dense(3)), sequential(L.Dense(3))))
    config = trainer.get_config()
    for name in ("policy", "critic"):
        plain = keras.saving.serialize_keras_object(getattr(trainer, name))
        assert config[name] == plain
    one = kpg.models.Policy.from_config(trainer_of(one_layer()).policy.get_config())
    assert len(one.backbone.layers) == 1  # without the trainer it shares with no one
