"""What belongs to a training, and what may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from kpg.trainers.running import identity
from kpg.trainers.running.engine import GraphEngine
from tests.resuming import in_graph, make

PATH = Path("folder/checkpoint-1-0.keras")


def described(trainer: Any, env: Any, **settings: Any) -> Any:
    engine = GraphEngine(trainer.training_on(env.num_envs), env)
    return identity.of(trainer, engine, settings)


def test_names_and_rates_do_not_matter() -> None:
    env = in_graph()
    trainer, other = make(env), make(env)
    other.compile(keras.optimizers.Adam(0.01, name="other"))
    assert described(trainer, env, steps=1) == described(other, env, steps=1)
    identity.refuse_other(described(trainer, env), described(other, env), PATH)


@pytest.mark.parametrize(
    ("optimizer", "settings", "words"),
    [
        ("sgd", {}, "other optimizers"),
        (keras.optimizers.Adam(global_clipnorm=1.0), {}, "other optimizers"),
        ("adam", {"steps": 2}, "steps=2, but there 1"),
        ("adam", {"steps": 1, "new": 0}, "new=0, but there None"),
    ],
)
def test_what_differs_is_named(optimizer: Any, settings: Any, words: str) -> None:
    env = in_graph()
    trainer, other = make(env), make(env)
    other.compile(optimizer)
    saved, now = described(trainer, env, steps=1), described(other, env, **settings)
    with pytest.raises(
        ValueError, match=rf"as before.*Received: .*{words}.*1-0\.keras"
    ):
        identity.refuse_other(saved, now, PATH)


def test_seeds_are_those_that_were_given() -> None:
    trainer = make(in_graph(), seed=5)
    identity.refuse_other_seed(trainer, 5, PATH)
    with pytest.raises(ValueError, match="seed=5, but there 6"):
        identity.refuse_other_seed(trainer, 6, PATH)
    identity.refuse_other_seed(make(in_graph(), seed=None), 6, PATH)


def test_rates_are_those_of_the_beginning_or_of_the_file() -> None:
    env = in_graph()
    trainer = make(env)
    engine = GraphEngine(trainer.training_on(env.num_envs), env)
    (rate,) = engine.rates
    saved = {"first_rates": [0.1], "base_rates": [0.2], "rates": [0.3]}
    for name in saved:
        identity.refuse_other_rates(engine, {**saved, name: [rate]}, PATH)
    with pytest.raises(ValueError, match=r"learning rate 0\.05, but there 0\.1"):
        identity.refuse_other_rates(engine, saved, PATH)
