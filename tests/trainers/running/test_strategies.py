from __future__ import annotations

import json
import socket
from typing import Any

import keras
import pytest
import tensorflow as tf

import kpg
from kpg.trainers.running.strategies import check_strategy, own_address, workers_in


def config(cluster: Any, kind: Any = "worker", index: Any = 0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


TWO = {"worker": ["a:1", "b:2"]}
CHIEF = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}


@pytest.mark.parametrize(
    ("text", "address", "count"),
    [
        (config(TWO, index=1), "b:2", 2),
        (config(TWO, index="1"), "b:2", 2),
        (config(CHIEF, "chief"), "a:1", 3),
        (config(CHIEF, "worker", 1), "c:3", 3),
    ],
)
def test_tf_config_names_the_workers(text: str, address: str, count: int) -> None:
    assert own_address(text) == address
    assert workers_in(text) == count


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "3", "{}", '{"cluster": {}}', '{"cluster": 3, "task": {}}'),
        config(TWO, index=2),
        config(TWO, index=-1),
        config(TWO, "chief"),
        config({"worker": ["a:1"], "ps": ["b:2"]}),
        config({"worker": ["a"]}),
        config({"worker": [3]}),
        config({"worker": {"a:1": 0}}, index="x"),
    ],
)
def test_a_malformed_tf_config_is_told(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"kpg launch --workers 2.*Received: TF_C"):
        kpg.trainers.make_strategy("multiworker")


@pytest.mark.parametrize("text", ["", "{", "{}", '{"cluster": {}}', config({})])
def test_what_names_no_workers_is_one(text: str) -> None:
    assert workers_in(text) == 1


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("TF_CONFIG", config({"worker": [address, "b:2"]}))
        with pytest.raises(ValueError, match=f"port.*free one.*Received: {address}"):
            kpg.trainers.make_strategy("multiworker")


def test_all_devices_of_the_machine_are_replicas() -> None:
    assert kpg.trainers.make_strategy("mirrored").num_replicas_in_sync == 2
    with pytest.raises(ValueError, match="`name` must be one of mirrored, multiworker"):
        kpg.trainers.make_strategy("tpu")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ParameterServerStrategy", "ParameterServerStrategy: its workers change"),
        ("TPUStrategy", "TPUStrategy: nobody could try it so far"),
    ],
)
def test_other_strategies_are_refused_by_name(kind: str, words: str) -> None:
    known = getattr(tf.distribute, kind)
    with pytest.raises(ValueError, match=f"not run under {words}.*Received: {kind}"):
        check_strategy(known.__new__(known))  # to make one takes a cluster, or a TPU


STRATEGIES: dict[str, Any] = {
    "one device": lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
    "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    "central": lambda: tf.distribute.experimental.CentralStorageStrategy(
        ["CPU:0", "CPU:1"]
    ),
}


def models() -> tuple[Any, Any]:
    env: Any = kpg.make("CartPole-v1")
    spaces = env.observation_space, env.action_space
    policy = kpg.models.Policy(*spaces, hidden_units=(2,))
    return policy, kpg.models.Critic(spaces[0], hidden_units=(2,))


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_made_outside_of_the_scope_is_told(name: str) -> None:
    strategy = STRATEGIES[name]()
    kind = type(strategy).__name__
    outside, optimizer = models(), keras.optimizers.SGD()
    with strategy.scope():
        inside = models()
        with pytest.raises(
            ValueError,
            match=r"move `policy = …` inside `with strategy\.scope\(\):`. Received: "
            f"`policy = …` under no strategy, and `trainer = …` under {kind}",
        ):
            kpg.trainers.ActorCritic(*outside)
        trainer = kpg.trainers.ActorCritic(*inside)
        trainer.compile("sgd")
    with pytest.raises(
        ValueError,
        match=r"move `trainer = …` inside.* `policy = …` under "
        f"{kind}, and `trainer = …` under no strategy",
    ):
        kpg.trainers.ActorCritic(*inside)
    with pytest.raises(
        ValueError,
        match=r"move `keras\.optimizers\.SGD\(…\)` inside.*under no strategy, and "
        rf"`trainer\.compile\(…\)` under {kind}",
    ):
        trainer.compile(optimizer)


def test_a_trainer_of_no_strategy_stays_outside() -> None:
    trainer = kpg.trainers.ActorCritic(*models(), num_steps=2)
    trainer.compile("sgd")
    with STRATEGIES["mirrored"]().scope():
        with pytest.raises(ValueError, match=r"move `trainer = …`.*`trainer\.compile"):
            trainer.compile("sgd")
        with pytest.raises(ValueError, match=r"move `trainer = …`.*`trainer\.fit\(…\)"):
            trainer.fit(kpg.make("CartPole-v1", num_envs=2))
