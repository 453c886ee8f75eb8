"""What is learned from a kept fragment, wherever it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers import KL, Checkpoint, Needs, Population, Replay
from kpg.trainers.learning.replaying import Replaying
from tests.environments import Walk
from tests.fragments import (
    B,
    Oracle,
    T,
    assert_weights,
    fragment,
    learn,
    replayed,
    traces,
    values_of,
)
from tests.languages import stir
from tests.resuming import Crash, Crashes, assert_equal, fit, in_graph, make, on_host
from tests.text_training import make_trainer as make_writer
from tests.text_training import small_policy, task

Make = Callable[..., Any]
GAMMA = 0.9
PLAIN: dict[str, Any] = {
    "num_steps": T,
    "gamma": GAMMA,
    "advantage": kpg.advantages.VTrace(0.9, 0.8),
    "max_grad_norm": None,
    "optimizer": keras.optimizers.SGD(0.5),
}


def replaying(make_trainer: Make, **settings: Any) -> Any:
    optimizer = keras.optimizers.SGD(0.5)
    settings = {**PLAIN, "optimizer": optimizer, "replay": Replay(1), **settings}
    return make_trainer("ActorCritic", **settings)


def test_the_step_is_that_of_vtrace_with_what_was_kept(make_trainer: Make) -> None:
    trainer = replaying(make_trainer)
    rows = fragment(trainer.policy)
    stir(trainer.policy)
    oracle = Oracle(trainer, rows)
    values, next_values = oracle.values()
    moved = tf.reshape(oracle.log_probs(), [T, B]) - rows.log_probs
    found = kpg.advantages.vtrace(
        rows.rewards,
        values,
        next_values,
        rows.terminated,
        rows.truncated,
        moved,
        gamma=GAMMA,
        clip_rho=0.9,
        clip_c=0.8,
    )

    def loss() -> tf.Tensor:
        errors = trainer.critic(oracle.flat) - tf.reshape(found.targets, [-1])
        terms = -oracle.log_probs() * tf.reshape(found.advantages, [-1])
        return oracle.mean(terms + 0.25 * tf.square(errors))

    expected = oracle.step(loss, 0.5)
    metrics = replayed(trainer, rows)
    assert_weights(trainer, expected, atol=1e-5)
    alike = oracle.mean(tf.reshape(tf.minimum(tf.exp(moved), 1.0), [-1]))
    assert metrics["replay_overlap"] == pytest.approx(float(alike), rel=1e-5)
    assert float(alike) < 0.9


def test_drift_and_scale_are_those_of_now(make_trainer: Make) -> None:
    """As if the rewards had been what they are now."""
    made = [
        replaying(make_trainer, reference=KL(0.3), normalize_rewards=True),
        replaying(make_trainer),
    ]
    rows = fragment(made[0].policy)
    scale = made[0].return_moments
    for variable in scale.variables:
        variable.assign(tf.ones_like(variable) * 4.0)
    made[0].reference.begin()  # so that the policy moves away from it
    reference = Oracle(made[0], rows).log_probs()
    for trainer in made:
        stir(trainer.policy)
    drift = tf.reshape(Oracle(made[0], rows).log_probs() - reference, [T, B])
    rewards = (rows.rewards - 0.3 * drift) * scale.inverse_deviation()
    replayed(made[0], rows)
    replayed(made[1], rows._replace(rewards=tf.clip_by_value(rewards, -10.0, 10.0)))
    assert_weights(made[0], values_of(made[1].learned_variables()), atol=1e-5)


def test_a_first_iteration_is_that_without_replay(make_trainer: Make) -> None:
    made = [replaying(make_trainer, replay=own) for own in (Replay(2, 3), None)]
    rows = fragment(made[0].policy, masked=True)
    metrics = [learn(trainer, rows)[1] for trainer in made]
    for one, other in zip(
        *map(values_of, [own.variables for own in made]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    alone = {"replay_overlap": 1.0, "replay_age": 0.0}
    assert metrics[0] == {**metrics[1], **alone}


@pytest.mark.slow
@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("where", ["graph", "host", "graph gru", "host gru", "text"])
def test_what_was_kept_is_what_the_policy_would_say_again(where: str) -> None:
    """A policy that stays as it is overlaps wholly with itself, from any state."""
    settings: dict[str, Any] = {"advantage": "vtrace", "replay": Replay(2, 2)}
    if where == "text":
        env: Any = task()
        trainer = make_writer(small_policy("abc"), "ActorCritic", **settings)
    else:
        memory = "gru" if where.endswith("gru") else None
        env = on_host() if where.startswith("host") else in_graph()
        plain: Any = {
            "normalize_observations": False,
            "learning_rate_schedule": "constant",
        }
        trainer = make(env, memory, **plain, **settings)
    stir(trainer.policy)
    trainer.optimizer.learning_rate = 0.0
    logs = trainer.fit(env, epochs=4, steps_per_epoch=1, verbose=0).history
    np.testing.assert_allclose(logs["replay_overlap"], 1.0, atol=2e-6)
    assert logs["replay_age"][:2] == [0.0, 1.0]
    assert all(1.0 <= age <= 2.0 for age in logs["replay_age"][2:])


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_program_keeps_and_replays(jit_compile: bool) -> None:
    env = in_graph()
    settings: dict[str, Any] = {"advantage": "vtrace", "replay": Replay(1)}
    trainer = make(env, jit_compile=jit_compile, **settings)
    trainer.optimizer.learning_rate = 0.3
    trainer.fit(env, epochs=2, steps_per_epoch=2, verbose=0)
    logs = trainer.fit(env, epochs=2, steps_per_epoch=2, verbose=0).history
    assert logs["replay_age"] == [1.0, 1.0]
    assert all(overlap < 0.999 for overlap in logs["replay_overlap"])
    assert traces(trainer) == 1


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    "where", [in_graph, pytest.param(on_host, marks=pytest.mark.slow)]
)
def test_a_training_with_replay_goes_on_to_the_bit(where: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"advantage": "vtrace", "replay": Replay(2)}
    at_once = fit(where(), make(where(), **settings), epochs=1)
    with pytest.raises(Crash):
        watch = Checkpoint(tmp_path, minutes=1e-9)
        fit(where(), make(where(), **settings), watch, Crashes(1), epochs=1)
    # The second iteration replays what the first one collected.
    watch = Checkpoint(tmp_path)
    again = fit(where(), make(where(), **settings), watch, epochs=1)
    assert watch.resumed_from is not None
    assert again["replay_age"] == [0.5]
    assert_equal(again, at_once)


@pytest.mark.slow
@pytest.mark.usefixtures("one_by_one")
def test_members_of_a_population_have_their_own() -> None:
    settings: dict[str, Any] = {"advantage": "vtrace", "replay": Replay(3)}
    env, options = in_graph(), {"steps_per_epoch": 2, "verbose": 0}

    def member(seed: int) -> Any:
        return make(env, seed=seed, **settings)

    population = Population(member, [3, 1])
    for _ in range(2):
        population.fit(env, **options)
    for seed, own in zip((3, 1), population.members, strict=True):
        alone, again = member(seed), in_graph()
        for _ in range(2):
            alone.fit(again, **options)
        for got, want in zip(
            *map(values_of, [own.variables, alone.variables]), strict=True
        ):
            np.testing.assert_array_equal(got, want)


@pytest.mark.slow
@pytest.mark.usefixtures("one_by_one")
def test_another_environment_begins_with_nothing() -> None:
    trainer = make(in_graph(), advantage="vtrace", replay=Replay(2))
    other = kpg.environments.GraphEnvironment(Walk(length=(2, 5)), 3, seed=1)
    ages = [
        trainer.fit(env, verbose=0, steps_per_epoch=1).history["replay_age"][0]
        for env in (in_graph(), other, other)
    ]
    assert ages == [0.0, 0.0, 1.0]


@pytest.mark.slow
@pytest.mark.usefixtures("one_by_one")
def test_prompts_of_one_length_are_wanted() -> None:
    settings: dict[str, Any] = {"advantage": "vtrace", "replay": Replay(2)}
    trainer = make_writer(small_policy("abc"), "ActorCritic", **settings)
    env = task(prompts=["a", "ababab"], prompt_buckets=3, num_envs=1)
    with pytest.raises(ValueError, match="leave `prompt_buckets=1`"):
        trainer.fit(env, steps_per_epoch=8, verbose=0)


class Uncorrected(kpg.trainers.ActorCritic):
    """Replays without ratios."""

    @property
    def needs(self) -> Needs:
        return Needs()


def test_what_does_not_correct_is_refused(make_trainer: Make) -> None:
    trainer = make_trainer(Uncorrected, **{**PLAIN, "replay": Replay(1)})
    with pytest.raises(ValueError, match="`log_ratios=True`.*Received: Uncorrected"):
        trainer.fit(kpg.make("CartPole-v1", num_envs=B), verbose=0)


def test_an_executor_that_learns_is_refused(make_trainer: Make) -> None:
    trainer, partner = replaying(make_trainer), cast(Any, object())
    scaling, objective = cast(Any, None), cast(Any, None)
    with pytest.raises(ValueError, match="not replayed.*Received: an `executor`"):
        Replaying(trainer.training_on(B, partner), Replay(), objective, scaling)


def test_several_replicas_are_refused(make_trainer: Make) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        trainer = replaying(make_trainer)
    with pytest.raises(ValueError, match="on one device.*Received: 2 replicas"):
        trainer.fit(kpg.make("CartPole-v1", num_envs=B), verbose=0)
